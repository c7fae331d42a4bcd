//! CNI as a container runtime does it: cnitool runs the plugins of a network configuration.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

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
        let output = self.run("add", netns, args).await?;
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
        self.run("del", netns, args).await.map(drop)
    }

    /// CHECK, against the result that ADD left in the cache.
    pub async fn check(&self, netns: &Path, args: &[(&str, &str)]) -> Result<()> {
        self.run("check", netns, args).await.map(drop)
    }

    /// STATUS: whether an ADD can work now.
    pub async fn status(&self) -> Result<()> {
        // cnitool wants a namespace for every verb; STATUS does not look at it.
        let node = Path::new("/run/netns").join(&self.node);
        self.run("status", &node, &[]).await.map(drop)
    }

    async fn run(&self, verb: &str, netns: &Path, args: &[(&str, &str)]) -> Result<String> {
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
            .stdin(std::process::Stdio::null())
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
