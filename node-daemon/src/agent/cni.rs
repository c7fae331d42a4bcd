//! CNI requests within the agent.
//!
//! ADD: the pod's binding is waited for; addresses are taken and written to disk; the pod's namespace is looked at and
//! its veths are made (beside the agent); VPP follows; when everything of the pod is in VPP the pod's side is made
//! (beside the agent); the attachment is committed and the runtime answered. Whatever fails undoes all of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use cni_shim::{AttachmentKey, CniError, Response, code};
use crds::cnf::InterfaceKind;
use crds::vpp_config::PodBinding;
use tokio::sync::oneshot;

use super::{Agent, Event};
use crate::addressing;
use crate::attachments::{Attachment, State};
use crate::cni::{self, Add, Admission, Call, Check, CniCall, Made};
use crate::desired::keys_of;
use crate::objects::{Key, Link};
use crate::podside::{self, FunctionSide, PodSide, PodSideError, Veth};

/// How long an ADD waits for the operator to say what the pod is.
const BINDING_LIMIT: Duration = Duration::from_secs(10);

/// How long an ADD may take in all; kubelet gives up at two minutes.
const ADD_LIMIT: Duration = Duration::from_secs(60);

/// An ADD under way.
pub(super) struct Adding {
    add: Add,
    reply: oneshot::Sender<Response>,
    began: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is taken yet.
    Binding,
    /// The namespace is looked at and veths are made.
    Preparing,
    /// VPP follows.
    Programming,
    /// The pod's side is made.
    Configuring,
}

impl Agent {
    pub(super) fn take_call(&mut self, call: CniCall) {
        let CniCall { request, reply } = call;
        self.metrics.cni_request(request.command);
        let parsed = match Call::parse(&request) {
            Ok(parsed) => parsed,
            Err(error) => return answer(reply, Err(error)),
        };
        match parsed {
            Call::Add(add) => self.begin_add(add, reply),
            Call::Del(del) => {
                self.detach(&del.key);
                // Always succeeds; answered when VPP has let go, so that the runtime may delete the namespace.
                self.leaving.push(reply);
            }
            Call::Gc(valid) => {
                for key in self.attachments.stale(&valid) {
                    self.detach(&key);
                }
                self.leaving.push(reply);
            }
            Call::Check(check) => self.check(check, reply),
            Call::Status => answer(reply, self.status()),
        }
    }

    fn begin_add(&mut self, add: Add, reply: oneshot::Sender<Response>) {
        let key = add.key.clone();
        if self.adding.contains_key(&key) {
            let text = format!(
                "an earlier ADD of container {} is still at work",
                key.container_id
            );
            return answer(reply, Err(CniError::new(code::TRY_AGAIN_LATER, text)));
        }
        match cni::admit(self.attachments.by_key(&key), &add) {
            Err(error) => answer(reply, Err(error)),
            Ok(Admission::Again(result)) => self.confirm(&key, add, result, reply),
            Ok(Admission::New) => {
                let adding = Adding {
                    add,
                    reply,
                    began: Instant::now(),
                    stage: Stage::Binding,
                };
                self.adding.insert(key, adding);
                self.advance_adds(Instant::now());
            }
        }
    }

    /// Repeats an ADD's answer after a look at whether it is still true.
    fn confirm(
        &mut self,
        key: &AttachmentKey,
        add: Add,
        result: cni_shim::CniResult,
        reply: oneshot::Sender<Response>,
    ) {
        let Some((netns, side)) = self.attachments.by_key(key).and_then(|a| self.pod_side(a)) else {
            let text = "the pod's configuration is not known at the moment";
            return answer(reply, Err(CniError::new(code::TRY_AGAIN_LATER, text)));
        };
        tokio::task::spawn_blocking(move || {
            let outcome = match podside::check(&netns, &side) {
                Ok(differences) if differences.is_empty() => Ok(Response::Added(result)),
                Ok(differences) => Err(cni::answer::not_as_made(&add, &differences)),
                Err(error) => Err(error.into()),
            };
            answer(reply, outcome);
        });
    }

    /// Moves ADDs on that wait for something other than an event, and ends those that waited too long.
    pub(super) fn advance_adds(&mut self, now: Instant) {
        let keys: Vec<AttachmentKey> = self.adding.keys().cloned().collect();
        for key in keys {
            let Some(adding) = self.adding.get(&key) else {
                continue;
            };
            let waited = now.saturating_duration_since(adding.began);
            if adding.reply.is_closed() {
                self.fail_add(
                    &key,
                    CniError::new(code::TRY_AGAIN_LATER, "nobody waits any more"),
                );
            } else if adding.stage == Stage::Binding {
                self.try_bind(&key, waited);
            } else if waited > ADD_LIMIT {
                let text = self.unfinished(&key);
                self.fail_add(&key, CniError::new(code::TRY_AGAIN_LATER, text));
            }
        }
    }

    fn try_bind(&mut self, key: &AttachmentKey, waited: Duration) {
        let Some(adding) = self.adding.get(key) else {
            return;
        };
        let pod = &adding.add.pod;
        let binding = self.spec.as_ref().and_then(|(spec, _)| {
            spec.pods.iter().find(|binding| match &pod.uid {
                Some(uid) => binding.uid == *uid,
                None => binding.namespace == pod.namespace && binding.name == pod.name,
            })
        });
        match binding {
            Some(binding) => {
                let binding = binding.clone();
                if let Err(error) = self.reserve(key, &binding) {
                    self.fail_add(key, error);
                }
            }
            None if waited > BINDING_LIMIT => {
                let text = format!(
                    "the operator has not said what pod {}/{} is: no binding in this node's VppConfig",
                    pod.namespace, pod.name
                );
                self.fail_add(key, CniError::new(code::TRY_AGAIN_LATER, text));
            }
            None => {}
        }
    }

    /// Takes addresses, durably, and starts what must be there before VPP can follow.
    fn reserve(&mut self, key: &AttachmentKey, binding: &PodBinding) -> Result<(), CniError> {
        let Some(adding) = self.adding.get_mut(key) else {
            return Ok(());
        };
        let addresses = self
            .ipam
            .allocate(SystemTime::now())
            .map_err(|error| CniError::new(code::TRY_AGAIN_LATER, error.to_string()))?;
        let attachment = Attachment {
            container_id: key.container_id.clone(),
            ifname: key.ifname.clone(),
            netns: adding.add.netns.to_string_lossy().into_owned(),
            namespace: binding.namespace.clone(),
            pod: binding.name.clone(),
            uid: binding.uid.clone(),
            kind: binding.interface,
            addresses,
            state: State::Reserved,
            result: None,
        };
        adding.stage = Stage::Preparing;
        let saved = self.store.save(&attachment);
        self.deferred.insert(attachment.id());
        self.attachments.insert(attachment.clone());
        saved.map_err(|error| CniError::new(code::IO_FAILURE, error.to_string()))?;
        let veths = self.veths(&attachment, binding);
        let names = kernel_names(&attachment, binding);
        let netns = PathBuf::from(&attachment.netns);
        let (events, key) = (self.events.clone(), key.clone());
        tokio::task::spawn_blocking(move || {
            let outcome = prepare(&netns, &names, &veths);
            let _ = events.blocking_send(Event::Prepared(key, outcome));
        });
        Ok(())
    }

    fn veths(&self, attachment: &Attachment, binding: &PodBinding) -> Vec<Veth> {
        let mtu = self.spec.as_ref().map_or(0, |(spec, _)| self.local.pod_mtu(spec));
        let veth = |ifname: &str, pod_mac, mac| Veth {
            name: attachment.veth_name(ifname),
            mac,
            netns: PathBuf::from(&attachment.netns),
            ifname: ifname.to_owned(),
            pod_mac,
            mtu,
        };
        // The node's end has an address of its own: the kernel must not take VPP's packets for its own.
        let outer = |name: &str| attachment.function_vpp_mac(&format!("{name} outer"));
        let mut veths = Vec::new();
        if attachment.kind == InterfaceKind::Veth {
            let name = &attachment.ifname;
            veths.push(veth(name, attachment.pod_mac(), outer(name)));
        }
        for interface in binding
            .interfaces
            .iter()
            .filter(|i| i.kind == InterfaceKind::Veth)
        {
            let name = &interface.name;
            veths.push(veth(name, attachment.function_pod_mac(name), outer(name)));
        }
        veths
    }

    pub(super) fn take_prepared(&mut self, key: &AttachmentKey, outcome: Result<(), PodSideError>) {
        // The attachment may have been deleted meanwhile, or be another one by now.
        let Some(adding) = self.adding.get_mut(key).filter(|a| a.stage == Stage::Preparing) else {
            return;
        };
        match outcome {
            Ok(()) => {
                adding.stage = Stage::Programming;
                if let Some(attachment) = self.attachments.by_key(key) {
                    self.deferred.remove(&attachment.id());
                }
                self.dirty = true;
            }
            Err(error) => self.fail_add(key, error.into()),
        }
    }

    /// Starts the pod's side of every attachment that is now whole in VPP; ends those that never will be.
    pub(super) fn finish_adds(&mut self) {
        let programming: Vec<AttachmentKey> = self
            .adding
            .iter()
            .filter(|(_, adding)| adding.stage == Stage::Programming)
            .map(|(key, _)| key.clone())
            .collect();
        for key in programming {
            let Some(attachment) = self.attachments.by_key(&key) else {
                continue;
            };
            let keys = keys_of(attachment, &self.desired.objects);
            let there = |key: &Key| {
                self.state.objects.contains_key(key)
                    && self.state.objects.get(key) == self.desired.objects.get(key)
            };
            let linked = keys.contains(&Key::Interface(Link::Pod(attachment.id())));
            if self.vpp.is_some() && linked && keys.iter().all(there) {
                if let Some(adding) = self.adding.get_mut(&key) {
                    adding.stage = Stage::Configuring;
                }
                self.configure_pod(&key);
                continue;
            }
            let hopeless = keys.iter().find_map(|key| match self.retry.failure(key) {
                Some(failure @ crate::apply::Failure::Final(_)) => Some(format!("{key}: {failure}")),
                _ => None,
            });
            if let Some(reason) = hopeless {
                let error = CniError::new(code::IO_FAILURE, "VPP refuses the pod's interface");
                self.fail_add(&key, error.with_details(reason));
            }
        }
    }

    /// Makes the pod's side, beside the agent.
    pub(super) fn configure_pod(&mut self, key: &AttachmentKey) {
        let Some((netns, side)) = self.attachments.by_key(key).and_then(|a| self.pod_side(a)) else {
            return;
        };
        let (events, key) = (self.events.clone(), key.clone());
        tokio::task::spawn_blocking(move || {
            let outcome = podside::configure(&netns, &side);
            let _ = events.blocking_send(Event::Configured(key, outcome));
        });
    }

    pub(super) fn take_configured(&mut self, key: &AttachmentKey, outcome: Result<(), PodSideError>) {
        let Some(adding) = self.adding.get(key).filter(|a| a.stage == Stage::Configuring) else {
            if let Err(error) = outcome {
                tracing::warn!(container = key.container_id, %error, "pod's side not made again");
            }
            return;
        };
        if let Err(error) = outcome {
            return self.fail_add(key, error.into());
        }
        let Some(attachment) = self.attachments.by_key(key) else {
            return;
        };
        let result = cni::result(attachment, &self.made(attachment), &adding.add);
        let mut committed = attachment.clone();
        committed.state = State::Committed;
        committed.result = Some(result.clone());
        if let Err(error) = self.store.save(&committed) {
            return self.fail_add(key, CniError::new(code::IO_FAILURE, error.to_string()));
        }
        self.attachments.insert(committed);
        self.dirty = true;
        if let Some(adding) = self.adding.remove(key) {
            let took = adding.began.elapsed();
            tracing::info!(
                pod = adding.add.pod.name,
                namespace = adding.add.pod.namespace,
                ?took,
                "pod attached"
            );
            self.metrics.add_seconds.observe(took.as_secs_f64());
            answer(adding.reply, Ok(Response::Added(result)));
        }
    }

    fn fail_add(&mut self, key: &AttachmentKey, error: CniError) {
        tracing::warn!(
            container = key.container_id,
            code = error.code,
            error = error.msg,
            details = error.details,
            "ADD failed"
        );
        let adding = self.adding.remove(key);
        self.detach(key);
        if let Some(adding) = adding {
            answer(adding.reply, Err(error));
        }
    }

    /// Lets go of an attachment: disk, addresses, veths now, VPP in the next step.
    fn detach(&mut self, key: &AttachmentKey) {
        if let Some(adding) = self.adding.remove(key) {
            let error = CniError::new(code::TRY_AGAIN_LATER, "deleted while it was being added");
            answer(adding.reply, Err(error));
        }
        let Some(attachment) = self.attachments.remove(key) else {
            return;
        };
        self.deferred.remove(&attachment.id());
        self.dirty = true;
        if let Err(error) = self.store.remove(key) {
            tracing::error!(%error, "attachment file stays behind");
        }
        let now = SystemTime::now();
        for &address in &attachment.addresses {
            self.ipam.release(address, now);
        }
        if let Err(error) = self.store.save_cooling(self.ipam.cooling(now)) {
            tracing::warn!(%error, "addresses' cool-down will not survive a restart");
        }
        let functions: Vec<String> = self
            .binding_of(&attachment)
            .map(|b| b.interfaces.iter().map(|i| i.name.clone()).collect())
            .unwrap_or_default();
        tracing::info!(
            pod = attachment.pod,
            namespace = attachment.namespace,
            "pod detached"
        );
        self.retain_bindings(Vec::new());
        tokio::task::spawn_blocking(move || remove_veths(&attachment, &functions));
    }

    fn binding_of(&self, attachment: &Attachment) -> Option<&PodBinding> {
        let (spec, _) = self.spec.as_ref()?;
        let bound = spec.pods.iter().find(|binding| binding.uid == attachment.uid);
        bound.or_else(|| self.retained.get(&attachment.uid))
    }

    fn made(&self, attachment: &Attachment) -> Made {
        let (mtu, gateways) = match &self.spec {
            Some((spec, _)) => (self.local.pod_mtu(spec), addressing::gateways(spec).collect()),
            None => (0, Vec::new()),
        };
        let interfaces = self.binding_of(attachment).map_or(&[][..], |b| &b.interfaces);
        let (memif, kernel): (Vec<_>, Vec<_>) =
            interfaces.iter().partition(|i| i.kind == InterfaceKind::Memif);
        let socket = |name: &str| (name.to_owned(), addressing::memif_socket(&attachment.netns, name));
        let mut memif_sockets: Vec<_> = memif.iter().map(|i| socket(&i.name)).collect();
        if attachment.kind == InterfaceKind::Memif {
            memif_sockets.push(socket(&attachment.ifname));
        }
        Made {
            vpp_interface: attachment.tag(),
            mtu,
            gateways,
            function_interfaces: kernel.iter().map(|i| i.name.clone()).collect(),
            memif_sockets,
        }
    }

    /// The pod's side as it should be. `None` where the pod's binding is not known, or nothing of it is the kernel's.
    fn pod_side(&self, attachment: &Attachment) -> Option<(PathBuf, PodSide)> {
        let (spec, _) = self.spec.as_ref()?;
        let binding = self.binding_of(attachment)?;
        let mtu = self.local.pod_mtu(spec);
        let functions = binding
            .interfaces
            .iter()
            .filter(|i| addressing::has_kernel_device(i.kind))
            .map(|interface| FunctionSide {
                ifname: interface.name.clone(),
                role: interface.role,
                mac: attachment.function_pod_mac(&interface.name),
                mtu,
                gateways: attachment.addresses.iter().map(function_gateway).collect(),
                gateway_mac: attachment.function_vpp_mac(&interface.name),
            })
            .collect();
        let gateways = addressing::gateways(spec)
            .filter(|g| attachment.addresses.iter().any(|a| a.is_ipv6() == g.is_ipv6()))
            .collect();
        let side = PodSide {
            ifname: attachment.ifname.clone(),
            mac: attachment.pod_mac(),
            mtu,
            addresses: attachment.addresses.clone(),
            gateways,
            gateway_mac: attachment.vpp_mac(),
            functions,
            forwarding: binding.forwarding,
        };
        Some((PathBuf::from(&attachment.netns), side))
    }

    fn check(&mut self, check: Check, reply: oneshot::Sender<Response>) {
        let existing = self.attachments.by_key(&check.key);
        if let Err(error) = cni::answer::check_memory(existing, &check) {
            return answer(reply, Err(error));
        }
        let Some(attachment) = existing else { return };
        if self.vpp.is_none() {
            let text = format!("VPP is not connected: {}", self.vpp_down);
            return answer(reply, Err(CniError::new(code::CHECK_FAILED, text)));
        }
        let missing: Vec<String> = keys_of(attachment, &self.desired.objects)
            .iter()
            .filter(|key| self.state.objects.get(key) != self.desired.objects.get(key))
            .map(|key| format!("not in VPP: {key}"))
            .collect();
        let Some((netns, side)) = self.pod_side(attachment) else {
            let text = "the pod's configuration is not known at the moment";
            return answer(reply, Err(CniError::new(code::TRY_AGAIN_LATER, text)));
        };
        tokio::task::spawn_blocking(move || {
            let outcome = podside::check(&netns, &side)
                .map_err(CniError::from)
                .and_then(|differences| {
                    let all: Vec<String> = missing.into_iter().chain(differences).collect();
                    cni::answer::differs(&all)
                })
                .map(|()| Response::Done {});
            answer(reply, outcome);
        });
    }

    /// Whether ADD can work now.
    fn status(&self) -> Result<Response, CniError> {
        // Pods that run depend on VPP alone.
        if self.vpp.is_none() {
            let text = format!("VPP is not connected: {}", self.vpp_down);
            return Err(CniError::new(code::NOT_AVAILABLE_LIMITED, text));
        }
        if !self.informed() {
            let text = "this node's VppConfig is not known yet";
            return Err(CniError::new(code::NOT_AVAILABLE, text));
        }
        self.ipam
            .available(SystemTime::now())
            .map(|()| Response::Done {})
            .map_err(|error| CniError::new(code::NOT_AVAILABLE, error.to_string()))
    }

    /// What an ADD that ran out of time was waiting for.
    fn unfinished(&self, key: &AttachmentKey) -> String {
        if self.vpp.is_none() {
            return format!("VPP is not connected: {}", self.vpp_down);
        }
        let Some(attachment) = self.attachments.by_key(key) else {
            return "the attachment is gone".to_owned();
        };
        keys_of(attachment, &self.desired.objects)
            .iter()
            .find(|key| self.state.objects.get(key) != self.desired.objects.get(key))
            .map_or_else(
                || "the pod's side took too long".to_owned(),
                |key| match self.retry.failure(key) {
                    Some(failure) => format!("{key}: {failure}"),
                    None => format!("{key} is not in VPP yet"),
                },
            )
    }
}

fn function_gateway(address: &std::net::IpAddr) -> std::net::IpAddr {
    if address.is_ipv6() {
        addressing::FUNCTION_GATEWAY_V6.into()
    } else {
        addressing::FUNCTION_GATEWAY_V4.into()
    }
}

/// Names that must be free in the pod: those of interfaces that VPP or a veth brings into it.
fn kernel_names(attachment: &Attachment, binding: &PodBinding) -> Vec<String> {
    let main = addressing::has_kernel_device(attachment.kind).then(|| attachment.ifname.clone());
    let functions = binding
        .interfaces
        .iter()
        .filter(|i| addressing::has_kernel_device(i.kind))
        .map(|i| i.name.clone());
    main.into_iter().chain(functions).collect()
}

fn prepare(netns: &Path, names: &[String], veths: &[Veth]) -> Result<(), PodSideError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    podside::vacant(netns, &names)?;
    for veth in veths {
        podside::create_veth(veth)?;
    }
    Ok(())
}

/// Removes the veths an attachment may have; blocks. With the node's end the pod's goes too.
pub(super) fn remove_veths(attachment: &Attachment, functions: &[String]) {
    let names = std::iter::once(&attachment.ifname).chain(functions);
    for name in names {
        if let Err(error) = podside::delete_veth(&attachment.veth_name(name)) {
            tracing::warn!(%error, "veth stays behind");
        }
    }
}

fn answer(reply: oneshot::Sender<Response>, outcome: Result<Response, CniError>) {
    // A runtime that hung up deletes what it asked for; there is nobody to tell.
    let _ = reply.send(Response::from(outcome));
}
