//! CNI as a container runtime does it: cnitool runs the plugins of a network configuration.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// A CNI network on one node: a configuration directory and where its plugins are.
#[derive(Clone, Debug)]
pub struct Network {
    name: String,
    dir: PathBuf,
    plugins: PathBuf,
    cnitool: PathBuf,
    node: String,
}

/// The addresses that a pod was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Addresses without their prefix lengths, in the plugin's order.
    pub addresses: Vec<IpAddr>,
    /// The plugin's whole result.
    pub result: Value,
}

/// What the plugin said.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Error code; `None` for success.
    pub code: Option<u64>,
    /// What it printed: a result, an error, or nothing.
    pub printed: Value,
}

impl Network {
    /// Writes the configuration list of one plugin into `dir`. Commands run in the node's namespace.
    pub fn write(
        name: &str,
        dir: &Path,
        plugins: &Path,
        cnitool: &Path,
        node: &str,
        plugin: &Value,
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let list = json!({ "cniVersion": "1.1.0", "name": name, "plugins": [plugin] });
        fs::write(
            dir.join(format!("10-{name}.conflist")),
            serde_json::to_vec_pretty(&list)?,
        )?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            plugins: plugins.to_owned(),
            cnitool: cnitool.to_owned(),
            node: node.to_owned(),
        })
    }

    /// ADD; `args` are CNI_ARGS as `K=V` pairs.
    pub async fn add(&self, netns: &Path, args: &[(&str, &str)]) -> Result<Attached> {
        self.add_mapped(netns, args, &json!([])).await
    }

    /// ADD with values of the capability `portMappings`.
    pub async fn add_mapped(
        &self,
        netns: &Path,
        args: &[(&str, &str)],
        mappings: &Value,
    ) -> Result<Attached> {
        let output = self.run("add", netns, args, mappings).await?;
        let result: Value =
            serde_json::from_str(&output).with_context(|| format!("reading cnitool's result: {output}"))?;
        let ips = result
            .get("ips")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let addresses: Result<Vec<IpAddr>> = ips.iter().map(address_of).collect();
        Ok(Attached {
            addresses: addresses?,
            result,
        })
    }

    /// DEL.
    pub async fn del(&self, netns: &Path, args: &[(&str, &str)]) -> Result<()> {
        self.run("del", netns, args, &json!([])).await.map(drop)
    }

    /// CHECK, against the result that ADD left in the cache, with the capability's values of then.
    pub async fn check_mapped(&self, netns: &Path, args: &[(&str, &str)], mappings: &Value) -> Result<()> {
        self.run("check", netns, args, mappings).await.map(drop)
    }

    /// STATUS: whether an ADD can work now.
    pub async fn status(&self) -> Result<()> {
        // cnitool wants a namespace for every verb; STATUS does not look at it.
        let node = Path::new("/run/netns").join(&self.node);
        self.run("status", &node, &[], &json!([])).await.map(drop)
    }

    /// The plugin itself, without cnitool: what a runtime that speaks the specification sees. `config` is laid
    /// over the network's own; a null removes a key. Returns what was printed, and the error code if it failed.
    pub async fn raw(&self, command: &str, container: &str, netns: &Path, config: Value) -> Result<Raw> {
        self.execute(command, container, netns, config, "").await
    }

    /// The same for a pod of namespace `default`.
    pub async fn raw_with_args(
        &self,
        command: &str,
        container: &str,
        netns: &Path,
        config: Value,
        pod: &str,
        uid: &str,
    ) -> Result<Raw> {
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid}");
        self.execute(command, container, netns, config, &args).await
    }

    async fn execute(
        &self,
        command: &str,
        container: &str,
        netns: &Path,
        config: Value,
        args: &str,
    ) -> Result<Raw> {
        let list: Value =
            serde_json::from_slice(&fs::read(self.dir.join(format!("10-{}.conflist", self.name)))?)?;
        let plugin = list
            .pointer("/plugins/0")
            .and_then(Value::as_object)
            .context("the list has no plugin")?;
        let mut merged = plugin.clone();
        merged.insert("cniVersion".to_owned(), json!("1.1.0"));
        merged.insert("name".to_owned(), json!(self.name));
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .context("the plugin has no type")?;
        let input = match config {
            Value::Object(changes) => {
                for (key, value) in changes {
                    if value.is_null() {
                        merged.remove(&key)
                    } else {
                        merged.insert(key, value)
                    };
                }
                Value::Object(merged).to_string()
            }
            Value::String(text) => text,
            other => other.to_string(),
        };
        let mut child = tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.node])
            .arg(self.plugins.join(kind))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", args)
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The same sentence again, for the runtime's log.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text)?
        };
        let code = if output.status.success() {
            None
        } else {
            printed.get("code").and_then(Value::as_u64)
        };
        if !output.status.success() && code.is_none() {
            bail!("the plugin failed without an error object: {text}");
        }
        Ok(Raw { code, printed })
    }

    async fn run(&self, verb: &str, netns: &Path, args: &[(&str, &str)], mappings: &Value) -> Result<String> {
        let args: Vec<String> = args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut command = tokio::process::Command::new("ip");
        command
            .args(["netns", "exec", &self.node])
            .arg(&self.cnitool)
            .args([verb, &self.name])
            .arg(netns)
            .env("NETCONFPATH", &self.dir)
            .env("CNI_PATH", &self.plugins)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", args.join(";"))
            .env("CAP_ARGS", json!({ "portMappings": mappings }).to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.context("running cnitool")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "CNI {}: {} {}",
                verb.to_uppercase(),
                String::from_utf8_lossy(&output.stderr).trim(),
                text.trim()
            );
        }
        Ok(text)
    }
}

fn address_of(ip: &Value) -> Result<IpAddr> {
    let text = ip
        .get("address")
        .and_then(Value::as_str)
        .context("an address in the CNI result is no string")?;
    let address = text.split('/').next().unwrap_or(text);
    address
        .parse()
        .with_context(|| format!("address {text} in the CNI result"))
}
