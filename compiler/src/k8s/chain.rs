//! ServiceChains and CNFs.
//!
//! The schema's CEL rules refuse most mistakes when the object is applied; objects read from files,
//! or written before a rule existed, are held to the same rules here.

use crds::cnf::{CNF, Forwarding, InterfaceKind, InterfaceRole};
use crds::net::PortMatch;
use crds::service_chain::ServiceChain;
use crds::vpp_config::FunctionInterface;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::identity;
use crate::facts::{Chain, ChainEnd, Classifier, Cnf, Function, PodEnd, Refusal};
use crate::selector::Selector;

fn refusal(reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        reason,
        message: message.into(),
    }
}

fn selector(at: &str, selector: &LabelSelector) -> Result<Selector, Refusal> {
    Selector::try_from(selector).map_err(|e| refusal("InvalidSelector", format!("{at}: {e}")))
}

fn pod_end(at: &str, pods: &LabelSelector, namespaces: Option<&LabelSelector>) -> Result<PodEnd, Refusal> {
    let namespaces = namespaces.map(|s| selector(&format!("{at}.namespaceSelector"), s));
    Ok(PodEnd {
        pods: selector(&format!("{at}.podSelector"), pods)?,
        namespaces: namespaces.transpose()?,
    })
}

/// What the compiler needs to know of a ServiceChain.
pub fn chain(chain: &ServiceChain) -> Chain {
    let (namespace, name, uid) = identity(&chain.metadata);
    let spec = &chain.spec;
    let mut refusals = Vec::new();
    let classifier = match classifier(spec) {
        Ok(classifier) => Some(classifier),
        Err(refusal) => {
            refusals.push(refusal);
            None
        }
    };
    if spec.functions.is_empty() {
        refusals.push(refusal(
            "NoFunctions",
            "spec.functions is empty: name at least one",
        ));
    }
    for (index, function) in spec.functions.iter().enumerate() {
        let before = &spec.functions[..index];
        if before.iter().any(|other| other.name == function.name) {
            let message = format!("two functions are named {:?}: rename one", function.name);
            refusals.push(refusal("DuplicateFunction", message));
        }
        if before.iter().any(|other| other.cnf == function.cnf) {
            let message = format!(
                "CNF {:?} appears twice: traffic of both hops would enter the same interface; \
                 make a second CNF",
                function.cnf
            );
            refusals.push(refusal("DuplicateCNF", message));
        }
    }
    if let Some(Classifier {
        to: ChainEnd::Cidrs(_),
        ..
    }) = &classifier
        && spec.symmetric
    {
        let message = "replies from spec.classifier.to.cidrs do not begin at a pod: set \
                       spec.symmetric to false";
        refusals.push(refusal("SymmetricNeedsPods", message));
    }
    let created = chain.metadata.creation_timestamp.as_ref();
    Chain {
        generation: chain.metadata.generation,
        created: created.map_or(0, |time| time.0.as_second()),
        classifier,
        functions: spec
            .functions
            .iter()
            .map(|function| Function {
                name: function.name.clone(),
                cnf: function.cnf.clone(),
            })
            .collect(),
        symmetric: spec.symmetric,
        on_failure: spec.on_failure,
        suspend: spec.suspend,
        refusals,
        namespace,
        name,
        uid,
    }
}

fn classifier(spec: &crds::ServiceChainSpec) -> Result<Classifier, Refusal> {
    const TO: &str = "spec.classifier.to";
    let from = &spec.classifier.from;
    let to = &spec.classifier.to;
    let from = pod_end(
        "spec.classifier.from",
        &from.pod_selector,
        from.namespace_selector.as_ref(),
    )?;
    let to = match (&to.pod_selector, &to.namespace_selector, to.cidrs.as_slice()) {
        (Some(pods), namespaces, []) => ChainEnd::Pods(pod_end(TO, pods, namespaces.as_ref())?),
        (None, None, cidrs @ [_, ..]) => ChainEnd::Cidrs(cidrs.to_vec()),
        (None, _, []) => {
            let message = format!("{TO} names no destination: write podSelector or cidrs");
            return Err(refusal("InvalidClassifier", message));
        }
        _ => {
            let message = format!("{TO}: selectors and cidrs exclude each other: keep one");
            return Err(refusal("InvalidClassifier", message));
        }
    };
    for port in &spec.classifier.ports {
        let valid = match (port.port, port.end_port) {
            (None, None) => true,
            (Some(first), None) => first > 0,
            (Some(first), Some(last)) => first > 0 && last >= first,
            (None, Some(_)) => false,
        };
        if !valid {
            let PortMatch { port, end_port, .. } = port;
            let message = format!(
                "spec.classifier.ports: port {port:?} with endPort {end_port:?}: endPort needs \
                 port and must not be below it"
            );
            return Err(refusal("InvalidClassifier", message));
        }
    }
    Ok(Classifier {
        from,
        to,
        ports: spec.classifier.ports.clone(),
    })
}

/// What the compiler needs to know of a CNF.
pub fn cnf(cnf: &CNF) -> Cnf {
    let (namespace, name, uid) = identity(&cnf.metadata);
    let spec = &cnf.spec;
    let mut refusals = Vec::new();
    let pods = match selector("spec.podSelector", &spec.pod_selector) {
        Ok(selector) => Some(selector),
        Err(refusal) => {
            refusals.push(refusal);
            None
        }
    };
    let mut roles: Vec<InterfaceRole> = spec.interfaces.iter().map(|i| i.role).collect();
    roles.sort();
    if !matches!(
        roles.as_slice(),
        [InterfaceRole::InOut] | [InterfaceRole::In, InterfaceRole::Out]
    ) {
        let message = "spec.interfaces: write one interface with role InOut, or one with role In \
                       and one with role Out";
        refusals.push(refusal("InvalidInterfaces", message));
    }
    for (index, interface) in spec.interfaces.iter().enumerate() {
        if matches!(interface.name.as_str(), "" | "lo" | "eth0") {
            let message = format!(
                "spec.interfaces: {:?} can't be the name of a function's interface: rename it",
                interface.name
            );
            refusals.push(refusal("InvalidInterfaces", message));
        }
        let mut before = spec.interfaces[..index].iter();
        if before.any(|other| other.name == interface.name) {
            let message = format!("two interfaces are named {:?}: rename one", interface.name);
            refusals.push(refusal("InvalidInterfaces", message));
        }
        if interface.kind == InterfaceKind::Memif && spec.forwarding == Forwarding::Kernel {
            let message = format!(
                "interface {:?} is a memif, which the pod's kernel can't forward: set \
                 spec.forwarding to Application",
                interface.name
            );
            refusals.push(refusal("MemifNeedsApplication", message));
        }
    }
    Cnf {
        generation: cnf.metadata.generation,
        pods,
        interfaces: spec
            .interfaces
            .iter()
            .map(|interface| FunctionInterface {
                name: interface.name.clone(),
                role: interface.role,
                kind: interface.kind,
            })
            .collect(),
        forwarding: spec.forwarding,
        refusals,
        namespace,
        name,
        uid,
    }
}
