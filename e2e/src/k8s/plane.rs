//! Control plane of a cluster: etcd, API server, controllers and scheduler on the nodes' own link, with certificates as kubeadm makes them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::Client;

use crate::assets::{self, Programs};
use crate::control::{SERVICE_CIDRS, client};
use crate::process::{Process, Program};
use crate::run::Run;
use crate::tls::{self, Authority, Pair};
use crate::underlay::{GATEWAY4, GATEWAY6, Underlay};

/// Where nodes and pods find the API server.
pub const PORT: u16 = 6443;
/// Address of the cluster's name server, a Service.
pub const CLUSTER_DNS: &str = "10.96.0.10";
/// Domain of Services' names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Ranges from which nodes get their prefixes for pods.
const POD_CIDRS: &str = "10.1.0.0/16,fd00:10:1::/48";
/// The first address of [`SERVICE_CIDRS`], where pods find the API server.
const KUBERNETES_SERVICE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1)),
];
const PATIENCE: Duration = Duration::from_secs(120);

/// The control plane.
pub struct Plane {
    authority: Authority,
    processes: Vec<Process>,
    dir: PathBuf,
    kubeconfig: PathBuf,
}

impl Plane {
    /// Starts it within the underlay's namespace and waits until the API server is ready. On the machine itself it is at
    /// `port` of loopback; 0 takes a free one.
    pub async fn start(run: &Run, underlay: &Underlay, programs: &Programs, port: u16) -> Result<Self> {
        let dir = run.subdir("control")?;
        let port = free_port(port)?;
        let authority = Authority::new("contiv-e2e")?;
        let mut plane = Self {
            authority,
            processes: Vec::new(),
            kubeconfig: run.dir().join("kubeconfig"),
            dir,
        };
        plane.write_files(port)?;
        let netns = underlay.namespace().name();
        for program in [
            plane.etcd(programs)?,
            plane.apiserver(programs)?,
            plane.controllers(programs)?,
            plane.scheduler(programs)?,
            relay(port)?,
        ] {
            plane.processes.push(Process::start(run, program.within(netns))?);
        }
        plane.wait_ready().await?;
        Ok(plane)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn write_pair(&self, name: &str, pair: &Pair) -> Result<()> {
        self.write(&format!("{name}.crt"), &pair.cert)?;
        self.write(&format!("{name}.key"), &pair.key)?;
        Ok(())
    }

    fn write_files(&self, port: u16) -> Result<()> {
        let addresses = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(GATEWAY4),
            IpAddr::V6(GATEWAY6),
            KUBERNETES_SERVICE[0],
            KUBERNETES_SERVICE[1],
        ];
        self.write("ca.crt", self.authority.cert())?;
        self.write_pair("apiserver", &self.authority.api_server(&addresses)?)?;
        let to_kubelet = self
            .authority
            .client("kube-apiserver-kubelet-client", &["system:masters"])?;
        self.write_pair("apiserver-kubelet-client", &to_kubelet)?;
        let front = Authority::new("contiv-e2e-front-proxy")?;
        self.write("front-proxy-ca.crt", front.cert())?;
        self.write_pair("front-proxy-client", &front.client("front-proxy-client", &[])?)?;
        let (signing, verifying) = tls::service_account_keys()?;
        self.write("sa.key", &signing)?;
        self.write("sa.pub", &verifying)?;

        let near = format!("https://{GATEWAY4}:{PORT}");
        for user in ["kube-controller-manager", "kube-scheduler"] {
            let pair = self.authority.client(&format!("system:{user}"), &[])?;
            let text = kubeconfig(&near, self.authority.cert(), user, &pair)?;
            self.write(&format!("{user}.kubeconfig"), &text)?;
        }
        let admin = self.authority.client("kubernetes-admin", &["system:masters"])?;
        let text = kubeconfig(
            &format!("https://127.0.0.1:{port}"),
            self.authority.cert(),
            "kubernetes-admin",
            &admin,
        )?;
        fs::write(&self.kubeconfig, text)?;
        Ok(())
    }

    fn etcd(&self, programs: &Programs) -> Result<Program> {
        // In a namespace of its own, so the usual ports are free.
        Ok(Program::new("etcd", programs.path("etcd")?)
            .option("--data-dir", self.dir.join("etcd"))
            .option("--log-level", "warn")
            // The data lives no longer than the run: waiting for disks would only make it slow.
            .arg("--unsafe-no-fsync"))
    }

    fn apiserver(&self, programs: &Programs) -> Result<Program> {
        let file = |name: &str| self.dir.join(name);
        Ok(Program::new("kube-apiserver", programs.path("kube-apiserver")?)
            .option("--etcd-servers", "http://127.0.0.1:2379")
            .option("--bind-address", "::")
            .option("--advertise-address", GATEWAY4.to_string())
            .option("--secure-port", PORT.to_string())
            .option("--tls-cert-file", file("apiserver.crt"))
            .option("--tls-private-key-file", file("apiserver.key"))
            .option("--client-ca-file", file("ca.crt"))
            .option("--kubelet-certificate-authority", file("ca.crt"))
            .option(
                "--kubelet-client-certificate",
                file("apiserver-kubelet-client.crt"),
            )
            .option("--kubelet-client-key", file("apiserver-kubelet-client.key"))
            .option("--kubelet-preferred-address-types", "InternalIP")
            .option("--requestheader-client-ca-file", file("front-proxy-ca.crt"))
            .option("--requestheader-allowed-names", "front-proxy-client")
            .option("--requestheader-extra-headers-prefix", "X-Remote-Extra-")
            .option("--requestheader-group-headers", "X-Remote-Group")
            .option("--requestheader-username-headers", "X-Remote-User")
            .option("--proxy-client-cert-file", file("front-proxy-client.crt"))
            .option("--proxy-client-key-file", file("front-proxy-client.key"))
            .option("--service-account-key-file", file("sa.pub"))
            .option("--service-account-signing-key-file", file("sa.key"))
            .option(
                "--service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
            )
            .option("--service-cluster-ip-range", SERVICE_CIDRS)
            .option("--authorization-mode", "Node,RBAC")
            .option("--enable-admission-plugins", "NodeRestriction")
            .arg("--allow-privileged=true"))
    }

    fn controllers(&self, programs: &Programs) -> Result<Program> {
        let file = |name: &str| self.dir.join(name);
        let own = file("kube-controller-manager.kubeconfig");
        Ok(Program::new(
            "kube-controller-manager",
            programs.path("kube-controller-manager")?,
        )
        .option("--kubeconfig", &own)
        .option("--authentication-kubeconfig", &own)
        .option("--authorization-kubeconfig", &own)
        .option("--bind-address", "127.0.0.1")
        .option("--root-ca-file", file("ca.crt"))
        .option("--service-account-private-key-file", file("sa.key"))
        .arg("--use-service-account-credentials=true")
        .arg("--allocate-node-cidrs=true")
        .option("--cluster-cidr", POD_CIDRS)
        .option("--node-cidr-mask-size-ipv4", "24")
        .option("--node-cidr-mask-size-ipv6", "64")
        .option("--service-cluster-ip-range", SERVICE_CIDRS)
        .arg("--leader-elect=false"))
    }

    fn scheduler(&self, programs: &Programs) -> Result<Program> {
        let own = self.dir.join("kube-scheduler.kubeconfig");
        Ok(Program::new("kube-scheduler", programs.path("kube-scheduler")?)
            .option("--kubeconfig", &own)
            .option("--authentication-kubeconfig", &own)
            .option("--authorization-kubeconfig", &own)
            .option("--bind-address", "127.0.0.1")
            .arg("--leader-elect=false"))
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Controllers and scheduler may end before the API server is there; they are started again.
            for process in &mut self.processes {
                process.revive()?;
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            match answer {
                Ok(Ok(text)) if text == "ok" => return Ok(()),
                _ if Instant::now() > deadline => bail!(
                    "the API server is not ready after {} s; its log ends with:\n{}",
                    PATIENCE.as_secs(),
                    self.processes
                        .get(1)
                        .map(|api| api.log_tail(15))
                        .unwrap_or_default()
                ),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Starts again what has ended: controllers and scheduler end when the API server is away.
    pub fn revive(&mut self) -> Result<()> {
        self.processes
            .iter_mut()
            .try_for_each(|process| process.revive().map(drop))
    }

    /// Writes what a kubelet needs to be known and to be believed.
    pub fn write_node_credentials(&self, dir: &Path, name: &str, addresses: &[IpAddr]) -> Result<()> {
        let client = self
            .authority
            .client(&format!("system:node:{name}"), &["system:nodes"])?;
        let server = self
            .authority
            .server(&format!("system:node:{name}"), &[name], addresses)?;
        let near = format!("https://{GATEWAY4}:{PORT}");
        for (file, text) in [
            ("ca.crt", self.authority.cert()),
            ("kubelet-server.crt", &server.cert),
            ("kubelet-server.key", &server.key),
            (
                "kubelet.kubeconfig",
                &kubeconfig(&near, self.authority.cert(), name, &client)?,
            ),
        ] {
            fs::write(dir.join(file), text)?;
        }
        Ok(())
    }

    /// A client with all rights.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    /// Kubeconfig with all rights, for this machine.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Keeps all running when this value is dropped.
    pub fn leave(&mut self) {
        self.processes.iter_mut().for_each(Process::leave);
    }
}

/// The way from this machine's loopback to the API server.
fn relay(port: u16) -> Result<Program> {
    let own = format!("/proc/{}/ns/net", std::process::id());
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let to = SocketAddr::new(IpAddr::V4(GATEWAY4), PORT);
    Ok(Program::new("relay", assets::own("contiv-e2e")?)
        .arg("relay")
        .option("--netns", own)
        .option("--listen", listen.to_string())
        .option("--to", to.to_string()))
}

/// The port itself if it is free, or for 0 any that is.
pub fn free_port(port: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("port {port} of 127.0.0.1 is not to be had for the API server; PORT=… takes another, without it a free one is found")
    })?;
    Ok(listener.local_addr()?.port())
}

fn kubeconfig(server: &str, ca: &str, user: &str, pair: &Pair) -> Result<String> {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "contiv",
        "contexts": [{"name": "contiv", "context": {"cluster": "contiv", "user": user}}],
        "clusters": [{"name": "contiv", "cluster": {
            "server": server, "certificate-authority-data": base64(ca),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": base64(&pair.cert), "client-key-data": base64(&pair.key),
        }}],
    });
    Ok(serde_norway::to_string(&config)?)
}

/// As kubeconfig files hold PEM texts (RFC 4648 section 4); Kubernetes' own type writes bytes so.
fn base64(text: &str) -> serde_json::Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap_or_default()
}
