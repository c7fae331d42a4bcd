//! etcd and kube-apiserver on loopback, ready to use.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crds::SYSTEM_NAMESPACE;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::assets::ThirdParty;
use crate::process::{Process, Program};
use crate::run::Run;
use crate::tls;
use crate::underlay::{GATEWAY4, GATEWAY6};

/// Range of Services' addresses.
pub const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:10:96::/108";
/// The one user that is known from the start; it may do everything.
const ADMIN: &str = "admin";

/// The control plane of a run.
#[derive(Debug)]
pub struct ControlPlane {
    etcd: Process,
    apiserver: Process,
    port: u16,
    kubeconfig: PathBuf,
    dir: PathBuf,
    audit_log: PathBuf,
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready.
    pub async fn start(run: &Run, programs: &ThirdParty) -> Result<Self> {
        let dir = run.subdir("control")?;
        // Somebody else may take a free port between looking and using it: then all starts again elsewhere.
        for _ in 0..3 {
            match Self::try_start(run, programs, &dir).await {
                Err(error) if format!("{error:#}").contains("address already in use") => {
                    fs::remove_dir_all(dir.join("etcd")).ok();
                }
                result => return result,
            }
        }
        bail!("no free port could be had in three tries")
    }

    async fn try_start(run: &Run, programs: &ThirdParty, dir: &Path) -> Result<Self> {
        let [client_port, peer_port, port] = free_ports()?;
        let (client_url, peer_url) = (
            format!("http://127.0.0.1:{client_port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let etcd = Program::new("etcd", &programs.etcd)
            .option("--data-dir", dir.join("etcd"))
            .option("--listen-client-urls", &client_url)
            .option("--advertise-client-urls", &client_url)
            .option("--listen-peer-urls", &peer_url)
            .option("--initial-advertise-peer-urls", &peer_url)
            .option("--initial-cluster", format!("default={peer_url}"))
            .option("--log-level", "warn")
            // The data lives no longer than the run: waiting for disks would only make it slow.
            .arg("--unsafe-no-fsync");
        let etcd = Process::start(run, etcd)?;

        let addresses = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(GATEWAY4),
            IpAddr::V6(GATEWAY6),
        ];
        let authority = tls::Authority::new("contiv-e2e")?;
        let server = authority.api_server(&addresses)?;
        let (signing, verifying) = tls::service_account_keys()?;
        for (name, text) in [
            ("ca.crt", authority.cert()),
            ("tls.crt", &server.cert),
            ("tls.key", &server.key),
            ("sa.key", &signing),
            ("sa.pub", &verifying),
        ] {
            fs::write(dir.join(name), text)?;
        }
        let admin = format!("{}-{ADMIN}", run.id());
        fs::write(
            dir.join("tokens.csv"),
            format!("{admin},{ADMIN},{ADMIN},system:masters\n"),
        )?;
        fs::write(dir.join("audit.yaml"), AUDIT_POLICY)?;
        let audit_log = dir.join("audit.jsonl");

        let apiserver = Program::new("kube-apiserver", &programs.apiserver)
            .option("--etcd-servers", &client_url)
            .option("--bind-address", "127.0.0.1")
            .option("--secure-port", port.to_string())
            // Loopback can't be advertised; this is where the relay listens, so the `kubernetes` Service is right too.
            .option("--advertise-address", GATEWAY4.to_string())
            .option("--tls-cert-file", dir.join("tls.crt"))
            .option("--tls-private-key-file", dir.join("tls.key"))
            .option("--service-account-key-file", dir.join("sa.pub"))
            .option("--service-account-signing-key-file", dir.join("sa.key"))
            .option("--service-account-issuer", "https://kubernetes.default.svc")
            .option("--service-cluster-ip-range", SERVICE_CIDRS)
            .option("--token-auth-file", dir.join("tokens.csv"))
            .option("--authorization-mode", "RBAC")
            // Nothing here makes the `default` ServiceAccount of a namespace, so pods could not be created with it.
            .option("--disable-admission-plugins", "ServiceAccount")
            .option("--audit-policy-file", dir.join("audit.yaml"))
            .option("--audit-log-path", &audit_log)
            .option("--audit-log-mode", "blocking");
        let apiserver = Process::start(run, apiserver)?;

        let kubeconfig = run.dir().join("kubeconfig");
        fs::write(
            &kubeconfig,
            kubeconfig_text(&on_loopback(port), &dir.join("ca.crt"), ADMIN, &admin)?,
        )?;

        let mut plane = Self {
            etcd,
            apiserver,
            port,
            kubeconfig,
            dir: dir.to_owned(),
            audit_log,
        };
        plane.wait_ready().await?;
        Ok(plane)
    }

    /// Waits until `/readyz` says ok.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            self.etcd.check()?;
            self.apiserver.check()?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            match answer {
                Ok(Ok(text)) if text == "ok" => return Ok(()),
                _ if Instant::now() > deadline => bail!(
                    "the API server is not ready after 90 s; its log ends with:\n{}",
                    self.apiserver.log_tail(15)
                ),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// A client with all rights.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    /// Port on loopback, and on the underlay's gateway address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kubeconfig for the root namespace.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes a kubeconfig with a token of the operator's ServiceAccount, for the root namespace.
    pub async fn operator_kubeconfig(&self) -> Result<PathBuf> {
        let token = self.token("contiv-operator", None).await?;
        self.write_kubeconfig("contiv-operator", &on_loopback(self.port), &token)
    }

    /// Makes a kubeconfig with a token of the daemons' ServiceAccount, for a node's namespace. The token
    /// is bound to a pod on that node, so that the API server knows which node it speaks for.
    pub async fn node_kubeconfig(&self, node: &str, address: IpAddr) -> Result<PathBuf> {
        let name = format!("contiv-node-{node}");
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {"app": "contiv-node"}},
            "spec": {
                "nodeName": node,
                "hostNetwork": true,
                "serviceAccountName": "contiv-node",
                "containers": [{"name": "contiv-node", "image": "contiv-node"}],
            },
        }))?;
        let pods: Api<Pod> = Api::namespaced(self.client().await?, SYSTEM_NAMESPACE);
        let pod = pods
            .create(&PostParams::default(), &pod)
            .await
            .context("creating the daemon's own pod")?;
        let token = self.token("contiv-node", Some(&pod)).await?;
        let status = serde_json::json!({"status": {
            "phase": "Running", "podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "contiv-node", "image": "contiv-node", "imageID": "", "restartCount": 0, "ready": true,
                "state": {"running": {}},
            }],
        }});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        self.write_kubeconfig(&name, &format!("https://{GATEWAY4}:{}", self.port), &token)
    }

    /// A client that speaks with this token and no other rights.
    pub async fn client_as(&self, token: &str) -> Result<Client> {
        client_with_token(&self.kubeconfig, token).await
    }

    /// A token of a ServiceAccount of contiv-system, bound to a pod if one is given (the TokenRequest API, as kubelet uses it).
    pub async fn token(&self, account: &str, pod: Option<&Pod>) -> Result<String> {
        let bound = pod.map(|pod| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        });
        let spec = TokenRequestSpec {
            bound_object_ref: bound,
            expiration_seconds: Some(24 * 3600),
            ..Default::default()
        };
        let request = TokenRequest {
            spec: Some(spec),
            ..Default::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, SYSTEM_NAMESPACE);
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let answer = answer.with_context(|| format!("asking for a token of ServiceAccount {account}"))?;
        answer
            .status
            .and_then(|status| status.token)
            .context("the token request was not answered")
    }

    fn write_kubeconfig(&self, user: &str, server: &str, token: &str) -> Result<PathBuf> {
        let path = self.dir.join(format!("{user}.kubeconfig"));
        fs::write(
            &path,
            kubeconfig_text(server, &self.dir.join("ca.crt"), user, token)?,
        )?;
        Ok(path)
    }

    /// Every write that was made, one JSON object a line (Kubernetes' audit format).
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// Kills the API server; its store stays.
    pub fn stop_apiserver(&mut self) {
        self.apiserver.kill();
    }

    /// Starts it again on the same port and waits until it is ready.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        self.apiserver.spawn()?;
        self.wait_ready().await
    }

    /// Keeps both running when this value is dropped.
    pub fn leave(&mut self) {
        self.etcd.leave();
        self.apiserver.leave();
    }
}

/// Writes only: who changed what. Leases are heartbeats and are left out, as are Events.
const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources: [{group: coordination.k8s.io}, {group: "", resources: [events]}, {group: events.k8s.io}]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"#;

/// A client from a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    client_of(Kubeconfig::read_from(kubeconfig)?).await
}

/// A client of a kubeconfig's server that speaks with this token and nothing of the file's own users.
pub async fn client_with_token(kubeconfig: &Path, token: &str) -> Result<Client> {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        });
    }
    client_of(kubeconfig).await
}

async fn client_of(kubeconfig: Kubeconfig) -> Result<Client> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // The server is on this machine, whatever proxy the environment names.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

fn on_loopback(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn kubeconfig_text(server: &str, ca: &Path, user: &str, token: &str) -> Result<String> {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "contiv-e2e",
        "contexts": [{"name": "contiv-e2e", "context": {"cluster": "contiv-e2e", "user": user}}],
        "clusters": [{"name": "contiv-e2e", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
    });
    Ok(serde_norway::to_string(&config)?)
}

/// Three ports of loopback that are free now.
fn free_ports() -> Result<[u16; 3]> {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
