//! What a request asks for, checked.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cni_shim::{AttachmentKey, CniError, CniResult, Command, Dns, PORT_MAPPINGS, Request, code};

use crate::attachments::HostPort;

/// A checked request.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Attach a pod.
    Add(Add),
    /// Detach it.
    Del(Del),
    /// Compare it with what was made.
    Check(Check),
    /// Detach all but these.
    Gc(BTreeSet<AttachmentKey>),
    /// Can ADD work now?
    Status,
}

/// Which pod a sandbox belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; runtimes before containerd 1.6 and CRI-O 1.24 do not tell.
    pub uid: Option<String>,
}

/// Attach a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// The runtime's name for the attachment.
    pub key: AttachmentKey,
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// The pod.
    pub pod: PodName,
    /// Name servers to answer with.
    pub dns: Dns,
    /// Ports of the node that are to lead to the pod.
    pub host_ports: Vec<HostPort>,
    /// Result of the plugins before this one.
    pub previous: Option<CniResult>,
}

/// Detach a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Del {
    /// The runtime's name for the attachment.
    pub key: AttachmentKey,
}

/// Compare an attachment with what was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The runtime's name for the attachment.
    pub key: AttachmentKey,
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// What ADD and the plugins after this one answered.
    pub previous: CniResult,
}

impl Call {
    /// Reads a request. The shim has checked what it can know alone; what it let pass and the
    /// daemon can't do without is checked here.
    ///
    /// # Errors
    /// Codes 4 (environment) and 7 (configuration) of the specification.
    pub fn parse(request: &Request) -> Result<Self, CniError> {
        match request.command {
            Command::Add => Ok(Self::Add(Add {
                key: request.key(),
                netns: netns(request)?,
                pod: pod(request)?,
                dns: request.config.dns.clone(),
                host_ports: host_ports(request)?,
                previous: previous(request)?,
            })),
            Command::Del => Ok(Self::Del(Del { key: request.key() })),
            Command::Check => Ok(Self::Check(Check {
                key: request.key(),
                netns: netns(request)?,
                previous: previous(request)?.ok_or_else(|| {
                    CniError::new(
                        code::INVALID_CONFIG,
                        "CHECK without prevResult in the network configuration",
                    )
                })?,
            })),
            Command::Gc => match &request.config.valid_attachments {
                Some(valid) => Ok(Self::Gc(valid.iter().cloned().collect())),
                None => Err(CniError::new(
                    code::INVALID_CONFIG,
                    "GC without cni.dev/valid-attachments in the network configuration",
                )),
            },
            Command::Status => Ok(Self::Status),
        }
    }
}

fn netns(request: &Request) -> Result<PathBuf, CniError> {
    let path = PathBuf::from(&request.netns);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(CniError::new(
        code::INVALID_ENVIRONMENT,
        format!("CNI_NETNS {:?} is not an absolute path", request.netns),
    ))
}

fn pod(request: &Request) -> Result<PodName, CniError> {
    let argument = |key: &str| request.args.get(key).filter(|value| !value.is_empty());
    let required = |key: &str| {
        argument(key).cloned().ok_or_else(|| {
            CniError::new(
                code::INVALID_ENVIRONMENT,
                format!("CNI_ARGS lacks {key}: this plugin attaches Kubernetes pods only"),
            )
        })
    };
    Ok(PodName {
        namespace: required("K8S_POD_NAMESPACE")?,
        name: required("K8S_POD_NAME")?,
        uid: argument("K8S_POD_UID").cloned(),
    })
}

fn host_ports(request: &Request) -> Result<Vec<HostPort>, CniError> {
    let mappings = request.config.runtime_config.get(PORT_MAPPINGS);
    mappings.map_or(Ok(Vec::new()), HostPort::read)
}

fn previous(request: &Request) -> Result<Option<CniResult>, CniError> {
    let previous = request.config.prev_result.as_ref();
    let parsed = previous.map(CniResult::from_any_version).transpose();
    parsed.map_err(|error| {
        CniError::new(code::INVALID_CONFIG, "prevResult is not a CNI result").with_details(error)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cni_shim::NetConf;
    use serde_json::json;

    /// A request as kubelet's containerd makes it for pod `default/web`.
    pub(crate) fn request(command: Command) -> Request {
        let args = [
            ("K8S_POD_NAMESPACE", "default"),
            ("K8S_POD_NAME", "web"),
            ("K8S_POD_UID", "u1"),
            ("K8S_POD_INFRA_CONTAINER_ID", "c1"),
            ("IgnoreUnknown", "1"),
        ];
        Request {
            command,
            container_id: "c1".into(),
            netns: "/run/netns/c1".into(),
            ifname: "eth0".into(),
            args: args.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            path: "/opt/cni/bin".into(),
            config: NetConf {
                cni_version: "1.1.0".into(),
                name: "contiv".into(),
                kind: "contiv-cni".into(),
                ..NetConf::default()
            },
        }
    }

    #[test]
    fn add_names_its_pod() {
        let Call::Add(add) = Call::parse(&request(Command::Add)).unwrap() else {
            panic!("not an ADD");
        };
        assert_eq!(add.pod.namespace, "default");
        assert_eq!(add.pod.name, "web");
        assert_eq!(add.pod.uid.as_deref(), Some("u1"));
        assert_eq!(add.previous, None);
        assert_eq!(add.host_ports, []);
        let mut mapped = request(Command::Add);
        let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        mapped
            .config
            .runtime_config
            .insert("portMappings".into(), mappings);
        let Ok(Call::Add(add)) = Call::parse(&mapped) else {
            panic!("not an ADD");
        };
        assert_eq!((add.host_ports[0].port, add.host_ports[0].to), (8080, 80));
        let mut no_uid = request(Command::Add);
        no_uid.args.remove("K8S_POD_UID");
        assert!(matches!(Call::parse(&no_uid), Ok(Call::Add(add)) if add.pod.uid.is_none()));
    }

    #[test]
    fn mistakes_have_their_codes() {
        type Spoil = fn(&mut Request);
        let cases: [(Command, Spoil, u32); 6] = [
            (
                Command::Add,
                |r| drop(r.args.remove("K8S_POD_NAME")),
                code::INVALID_ENVIRONMENT,
            ),
            (
                Command::Add,
                |r| drop(r.args.insert("K8S_POD_NAMESPACE".into(), String::new())),
                code::INVALID_ENVIRONMENT,
            ),
            (
                Command::Add,
                |r| r.netns = "netns/c1".into(),
                code::INVALID_ENVIRONMENT,
            ),
            (
                Command::Add,
                |r| r.config.prev_result = Some(json!({"ips": "none"})),
                code::INVALID_CONFIG,
            ),
            (Command::Check, |_| {}, code::INVALID_CONFIG),
            (Command::Gc, |_| {}, code::INVALID_CONFIG),
        ];
        for (index, (command, spoil, expected)) in cases.into_iter().enumerate() {
            let mut bad = request(command);
            spoil(&mut bad);
            let error = Call::parse(&bad).unwrap_err();
            assert_eq!(error.code, expected, "case {index}: {error}");
        }
    }

    #[test]
    fn del_needs_nothing_but_its_key() {
        let mut bare = request(Command::Del);
        bare.netns.clear();
        bare.args.clear();
        bare.config.prev_result = Some(json!("nonsense"));
        assert!(matches!(Call::parse(&bare), Ok(Call::Del(del)) if del.key == bare.key()));
    }

    #[test]
    fn gc_takes_the_list() {
        let mut gc = request(Command::Gc);
        gc.config.valid_attachments = Some(vec![gc.key(), gc.key()]);
        assert_eq!(Call::parse(&gc), Ok(Call::Gc([gc.key()].into())));
    }
}
