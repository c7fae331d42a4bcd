//! CNI requests within the agent; ADD has a file of its own.

use std::time::SystemTime;

use cni_shim::{AttachmentKey, CniError, Response, code};
use crds::VppConfigSpec;
use tokio::sync::oneshot;

use super::Agent;
use super::pod::{Side, remove_veths};
use crate::attachments::Attachment;
use crate::cni::{self, Call, Check, CniCall};
use crate::desired::keys_of;
use crate::podside;

/// What an attachment that was let go of leaves in the kernel.
pub(super) struct Veths {
    attachment: Attachment,
    functions: Vec<String>,
}

/// Who waits until VPP and the kernel have let go, and what he is told then.
pub(super) struct Leaving {
    veths: Vec<Veths>,
    reply: oneshot::Sender<Response>,
    response: Response,
}

impl Leaving {
    /// To be called when VPP has let go. Veths go after VPP's interfaces on them: VPP talks to the kernel about a device
    /// even to give it back. Whoever waits hears of it after that: a late clean-up would take the pair of the pod's next ADD.
    pub(super) fn finish(self) {
        tokio::task::spawn_blocking(move || {
            for each in &self.veths {
                remove_veths(&each.attachment, &each.functions);
            }
            answer(self.reply, Ok(self.response));
        });
    }
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
            // Always succeeds; answered when VPP has let go, so that the runtime may delete the namespace.
            Call::Del(del) => {
                let veths = self.detach(&del.key);
                self.leave(veths, reply, Response::Done {});
            }
            Call::Gc(valid) => {
                let mut veths = Vec::new();
                for key in self.attachments.stale(&valid) {
                    veths.extend(self.detach(&key));
                }
                self.leave(veths, reply, Response::Done {});
            }
            Call::Check(check) => self.check(check, reply),
            Call::Status => answer(reply, self.status()),
        }
    }

    /// Answers when VPP and the kernel have let go.
    pub(super) fn leave(
        &mut self,
        veths: impl IntoIterator<Item = Veths>,
        reply: oneshot::Sender<Response>,
        response: Response,
    ) {
        self.leaving.push(Leaving {
            veths: veths.into_iter().collect(),
            reply,
            response,
        });
    }

    /// Ends what is under way for an attachment and lets go of it.
    fn detach(&mut self, key: &AttachmentKey) -> Option<Veths> {
        if let Some(adding) = self.adding.remove(key) {
            let error = CniError::new(code::TRY_AGAIN_LATER, "deleted while it was being added");
            answer(adding.reply, Err(error));
        }
        self.let_go(key, true)
    }

    /// Lets go of an attachment: disk and addresses now, VPP in the next step, the kernel after that. `used` says whether
    /// anybody can have used its addresses.
    pub(super) fn let_go(&mut self, key: &AttachmentKey, used: bool) -> Option<Veths> {
        let attachment = self.attachments.remove(key)?;
        self.deferred.remove(&attachment.id());
        self.dirty = true;
        if let Err(error) = self.store.remove(key) {
            tracing::error!(%error, "attachment file stays behind");
        }
        let now = SystemTime::now();
        // Released long ago: no cool-down for what nobody had.
        let released = if used { now } else { SystemTime::UNIX_EPOCH };
        for &address in &attachment.addresses {
            self.ipam.release(address, released);
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
        self.retain_bindings(VppConfigSpec::default());
        Some(Veths {
            attachment,
            functions,
        })
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
            .chain(self.host_ports_missing(attachment))
            .collect();
        let side = match self.pod_side(attachment) {
            Side::Kernel(netns, side) => Some((netns, side)),
            Side::NotTheKernels => None,
            Side::Unknown => return answer(reply, Err(not_known())),
        };
        tokio::task::spawn_blocking(move || {
            let within = side.map_or(Ok(Vec::new()), |(netns, side)| podside::check(&netns, &side));
            let outcome = within
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
}

pub(super) fn not_known() -> CniError {
    CniError::new(
        code::TRY_AGAIN_LATER,
        "the pod's configuration is not known at the moment",
    )
}

pub(super) fn answer(reply: oneshot::Sender<Response>, outcome: Result<Response, CniError>) {
    // A runtime that hung up deletes what it asked for; there is nobody to tell.
    let _ = reply.send(Response::from(outcome));
}
