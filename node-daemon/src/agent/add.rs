//! ADD within the agent.
//!
//! The pod's binding is waited for; addresses are taken and written to disk; the pod's namespace is looked at and its
//! veths are made (beside the agent); VPP follows; when everything of the pod is in VPP the pod's side is made (beside
//! the agent); the attachment is committed and the runtime answered. Whatever fails undoes all of it.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use cni_shim::{AttachmentKey, CniError, Response, code};
use crds::vpp_config::PodBinding;
use tokio::sync::oneshot;

use super::cni::{answer, not_known};
use super::pod::{Side, kernel_names, prepare};
use super::{Agent, Event};
use crate::attachments::{Attachment, State};
use crate::cni::{self, Add, Admission};
use crate::desired::keys_of;
use crate::objects::{Key, Link};
use crate::podside;

/// How long an ADD waits for the operator to say what the pod is.
const BINDING_LIMIT: Duration = Duration::from_secs(10);

/// How long an ADD may take in all; kubelet gives up at two minutes.
const ADD_LIMIT: Duration = Duration::from_secs(60);

/// An ADD under way.
pub(super) struct Adding {
    add: Add,
    pub(super) reply: oneshot::Sender<Response>,
    began: Instant,
    stage: Stage,
    /// What its success will be, once the pod's side is being made.
    committed: Option<Attachment>,
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
    pub(super) fn begin_add(&mut self, add: Add, reply: oneshot::Sender<Response>) {
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
                    committed: None,
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
        let (netns, side) = match self.attachments.by_key(key).map(|a| self.pod_side(a)) {
            Some(Side::Kernel(netns, side)) => (netns, side),
            Some(Side::NotTheKernels) => return answer(reply, Ok(Response::Added(result))),
            Some(Side::Unknown) | None => return answer(reply, Err(not_known())),
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
        if let Some((holder, port)) = self.attachments.holder_of(key, &adding.add.host_ports) {
            let text = format!(
                "hostPort {port} of this node is held by pod {}/{}",
                holder.namespace, holder.pod
            );
            return Err(CniError::new(code::TRY_AGAIN_LATER, text));
        }
        let addresses = self
            .ipam
            .allocate(SystemTime::now())
            .map_err(|error| CniError::new(code::TRY_AGAIN_LATER, error.to_string()))?;
        let attachment = Attachment {
            container_id: key.container_id.clone(),
            ifname: key.ifname.clone(),
            netns: adding.add.netns.to_string_lossy().into_owned(),
            namespace: binding.namespace.to_string(),
            pod: binding.name.to_string(),
            uid: binding.uid.to_string(),
            kind: binding.interface,
            addresses,
            host_ports: adding.add.host_ports.clone(),
            state: State::Reserved,
            result: None,
        };
        adding.stage = Stage::Preparing;
        self.deferred.insert(attachment.id());
        self.attachments.insert(attachment.clone());
        let veths = self.veths(&attachment, binding);
        let names = kernel_names(&attachment, binding);
        let netns = PathBuf::from(&attachment.netns);
        let (events, key, store) = (self.events.clone(), key.clone(), self.store.clone());
        tokio::task::spawn_blocking(move || {
            // On disk before anything is made: what a crash leaves is found and undone.
            let outcome = store
                .save(&attachment)
                .map_err(unwritten)
                .and_then(|()| prepare(&netns, &names, &veths).map_err(CniError::from));
            let _ = events.blocking_send(Event::Prepared(key, outcome));
        });
        Ok(())
    }

    pub(super) fn take_prepared(&mut self, key: &AttachmentKey, outcome: Result<(), CniError>) {
        if self.attachments.by_key(key).is_none() {
            return self.forget(key);
        }
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
            Err(error) => self.fail_add(key, error),
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
            let led = self.host_ports_missing(attachment).is_none();
            if self.vpp.is_some() && linked && led && keys.iter().all(there) {
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

    /// Makes the pod's side, beside the agent, and commits the attachment where that ends its ADD.
    pub(super) fn configure_pod(&mut self, key: &AttachmentKey) {
        let Some(attachment) = self.attachments.by_key(key) else {
            return;
        };
        let side = match self.pod_side(attachment) {
            Side::Kernel(netns, side) => Some((netns, side)),
            Side::NotTheKernels => None,
            Side::Unknown => return,
        };
        let committed = self.adding.get(key).map(|adding| Attachment {
            state: State::Committed,
            result: Some(cni::result(attachment, &self.made(attachment), &adding.add)),
            ..attachment.clone()
        });
        if let Some(adding) = self.adding.get_mut(key) {
            adding.committed.clone_from(&committed);
        }
        let (events, key, store) = (self.events.clone(), key.clone(), self.store.clone());
        tokio::task::spawn_blocking(move || {
            let made = side.map_or(Ok(()), |(netns, side)| podside::configure(&netns, &side));
            let outcome = made.map_err(CniError::from).and_then(|()| match &committed {
                Some(committed) => store.save(committed).map_err(unwritten),
                None => Ok(()),
            });
            let _ = events.blocking_send(Event::Configured(key, outcome));
        });
    }

    pub(super) fn take_configured(&mut self, key: &AttachmentKey, outcome: Result<(), CniError>) {
        if self.attachments.by_key(key).is_none() {
            return self.forget(key);
        }
        let Some(adding) = self.adding.get(key).filter(|a| a.stage == Stage::Configuring) else {
            if let Err(error) = outcome {
                tracing::warn!(
                    container = key.container_id,
                    error = error.msg,
                    "pod's side not made again"
                );
            }
            return;
        };
        let committed = match (outcome, &adding.committed) {
            (Ok(()), Some(committed)) => committed.clone(),
            (Ok(()), None) => return,
            (Err(error), _) => return self.fail_add(key, error),
        };
        let result = committed.result.clone().unwrap_or_default();
        self.attachments.insert(committed);
        self.dirty = true;
        if let Some(adding) = self.adding.remove(key) {
            let took = adding.began.elapsed();
            let pod = &adding.add.pod;
            tracing::info!(pod = pod.name, namespace = pod.namespace, ?took, "pod attached");
            self.metrics.add_seconds.observe(took.as_secs_f64());
            answer(adding.reply, Ok(Response::Added(result)));
        }
    }

    /// Removes what was written of an attachment after its deletion.
    fn forget(&self, key: &AttachmentKey) {
        if let Err(error) = self.store.remove(key) {
            tracing::error!(%error, "attachment file stays behind");
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
        let Some(adding) = self.adding.remove(key) else {
            return;
        };
        // Before VPP knew of them, nobody can have used the addresses.
        let used = !matches!(adding.stage, Stage::Binding | Stage::Preparing);
        let veths = self.let_go(key, used);
        self.leave(veths, adding.reply, Response::Failed(error));
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
                || {
                    let host_ports = self.host_ports_missing(attachment);
                    host_ports.unwrap_or_else(|| "the pod's side took too long".to_owned())
                },
                |key| match self.retry.failure(key) {
                    Some(failure) => format!("{key}: {failure}"),
                    None => format!("{key} is not in VPP yet"),
                },
            )
    }
}

fn unwritten(error: crate::attachments::StoreError) -> CniError {
    CniError::new(code::IO_FAILURE, error.to_string())
}
