//! Making VPP what it should be, and what follows from having done so.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Agent, Event};
use crate::actual;
use crate::apply::{self, Report};
use crate::attachments::Attachment;
use crate::desired::{self, Inputs, ServiceIndex};
use crate::host;
use crate::objects::{Key, Link, Object};
use crate::plan::{Plan, Step, plan};

/// Passes before the rest waits for the next event: more would mean that VPP and we cannot agree.
const PASSES: usize = 3;

impl Agent {
    /// One round: compute, compare, apply, answer.
    pub(super) async fn step(&mut self, now: Instant) {
        self.advance_adds(now);
        if self.restored && !self.trusted && now >= self.trust_disk_at {
            self.trusted = true;
            if !self.synced.all() {
                tracing::warn!("the API server does not answer: going by the state on disk");
                self.dirty = true;
            }
        }
        // Those that come while VPP follows wait for the next step.
        let leaving = std::mem::take(&mut self.leaving);
        let resync = self.vpp.is_some() && now >= self.next_read;
        let all = self.dirty || resync || self.retry.due(now);
        if all || !(self.moved.is_empty() || self.follow_services().await) {
            self.dirty = false;
            if resync {
                self.checking = self.read;
                self.read = false;
            }
            self.compute();
            self.converge(now).await;
            self.stand();
            self.measure_programming();
            self.announce();
            self.finish_adds();
            self.follow_host();
            self.publish();
        } else if std::mem::take(&mut self.host_done) {
            self.follow_host();
            self.finish_adds();
        }
        self.follow_scanner(now).await;
        self.end_stays(now).await;
        if self.unsaved && !self.resting() {
            self.save();
        }
        leaving.into_iter().for_each(super::cni::Leaving::finish);
    }

    /// Whether enough is known to say what should be in VPP: never from half a cluster, which would look like one
    /// from which the other half was deleted.
    pub(super) fn informed(&self) -> bool {
        self.spec.is_some() && (self.trusted || self.synced.all())
    }

    fn compute(&mut self) {
        self.moved.clear();
        self.index = None;
        if !self.informed() {
            return;
        }
        let Some(spec) = self.effective_spec() else { return };
        let inputs = Inputs {
            spec: &spec,
            cluster: &self.cluster,
            attachments: &self.attachments,
            deferred: &self.deferred,
            local: &self.local,
            last_rules: &self.last_rules,
        };
        let (desired, index) = (desired::desired(&inputs), ServiceIndex::new(&inputs));
        drop(spec);
        (self.desired, self.index) = (desired, Some(index));
        // The rules a policy keeps while one of its sets is missing are the last ones computed.
        self.last_rules = self
            .desired
            .objects
            .iter()
            .filter_map(|(key, object)| match (key, object) {
                (Key::Acl(tag), Object::Acl(rules)) => Some((tag.clone(), rules.clone())),
                _ => None,
            })
            .collect();
        self.retry.revise(&self.desired.objects);
    }

    async fn converge(&mut self, now: Instant) {
        for _ in 0..PASSES {
            let Some(vpp) = self.vpp.clone() else { return };
            if !self.informed() {
                return;
            }
            if !self.read && !self.read_vpp(&vpp, now).await {
                return;
            }
            self.keep_frozen();
            let held = self.retry.held(now);
            let plan = plan(&self.desired.objects, &self.state.objects, &held);
            if plan.is_empty() {
                self.checking = false;
                return;
            }
            self.note_plan(&plan);
            self.prepare_host(&plan).await;
            let started = Instant::now();
            self.spare_connections(&plan, now).await;
            let report = apply::apply(&vpp, &mut self.state, &plan).await;
            self.metrics.applied(&report, started.elapsed());
            self.retry.record(&report, &self.desired.objects, now);
            self.remember();
            self.reconfigure(&plan, &report);
            if report.lost() {
                self.lose_vpp("the connection broke".to_owned());
                return;
            }
            if report.mismatch() {
                self.read = false;
            } else if report.failed.is_empty() {
                return;
            }
        }
    }

    /// What is frozen is wanted as it is.
    fn keep_frozen(&mut self) {
        for key in &self.desired.frozen {
            if let Some(object) = self.state.objects.get(key) {
                self.desired.objects.insert(key.clone(), object.clone());
            }
        }
    }

    async fn read_vpp(&mut self, vpp: &crate::vpp::Vpp, now: Instant) -> bool {
        match actual::read(vpp, &self.desired.objects, &self.remembered).await {
            Ok(state) => {
                self.take_over_rules(&state);
                self.state = state;
                self.read = true;
                self.next_read = now + self.resync;
                self.metrics.reads.inc();
                true
            }
            Err(error) if error.is_closed() => {
                self.lose_vpp(error.to_string());
                false
            }
            Err(error) => {
                // A dump that VPP refuses is not a reason to guess.
                tracing::error!(%error, "VPP cannot be read");
                self.next_read = now + std::time::Duration::from_secs(5);
                false
            }
        }
    }

    /// After a restart the rules in VPP are the last known ones of policies whose sets are not known yet. If that
    /// gives an ACL that was not computed, everything is computed again with it.
    fn take_over_rules(&mut self, state: &crate::apply::State) {
        let mut learned = false;
        for (key, object) in &state.objects {
            if let (Key::Acl(tag), Object::Acl(rules)) = (key, object)
                && !self.last_rules.contains_key(tag)
                && !rules.is_empty()
            {
                self.last_rules.insert(tag.clone(), rules.clone());
                learned = true;
            }
        }
        if learned && !self.desired.unresolved.is_empty() {
            self.compute();
        }
    }

    pub(super) fn note_plan(&mut self, plan: &Plan) {
        let steps = plan.steps().count();
        if std::mem::take(&mut self.checking) {
            // VPP differs from what it was made.
            self.metrics.drift.inc_by(steps as u64);
            tracing::warn!(steps, "VPP was changed behind our back, mending it");
        }
        tracing::info!(steps, stages = plan.stages.len(), "changing VPP");
        for step in plan.steps() {
            let verb = match step {
                Step::Create(..) => "create",
                Step::Update(..) => "update",
                Step::Delete(..) => "delete",
            };
            tracing::debug!(verb, key = %step.key(), "step");
        }
    }

    /// Peers make tunnels as soon as they know an endpoint, and VPP asks for its MAC address right then: it is told
    /// when somebody answers. Once told it stays, or each restart of VPP would take tunnels down at every peer.
    fn announce(&mut self) {
        if !self.state.objects.contains_key(&Key::Up(Link::Uplink)) {
            return;
        }
        let held = self.state.objects.keys().filter_map(|key| match key {
            Key::Address(Link::Uplink, address) => Some(address.addr()),
            _ => None,
        });
        self.announced.extend(held);
    }

    fn remember(&mut self) {
        let excluded: BTreeSet<_> = self
            .state
            .objects
            .keys()
            .filter_map(|key| match key {
                Key::CnatExclude(prefix) => Some(*prefix),
                _ => None,
            })
            .collect();
        if excluded != self.remembered.excluded {
            self.remembered.excluded = excluded;
            self.unsaved = true;
        }
    }

    /// Interfaces made anew under a running pod (VPP was restarted) have nothing configured within the pod.
    fn reconfigure(&mut self, plan: &Plan, report: &Report) {
        let fresh: BTreeSet<&str> = plan
            .steps()
            .filter(|step| matches!(step, Step::Create(Key::Interface(_), _)))
            .filter(|step| report.done.contains(step.key()))
            .filter_map(|step| match step.key() {
                Key::Interface(Link::Pod(id) | Link::Function(id, _)) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        if plan
            .steps()
            .any(|step| matches!(step, Step::Create(Key::Interface(Link::Host), _)))
        {
            self.host_side = None;
        }
        let again: Vec<_> = self
            .attachments
            .iter()
            .filter(|each| fresh.contains(each.id().as_str()))
            .filter(|each| !self.adding.contains_key(&each.key()))
            .map(Attachment::key)
            .collect();
        for key in again {
            self.configure_pod(&key);
        }
    }

    /// What must be there before VPP makes its end of the node's interface.
    async fn prepare_host(&mut self, plan: &Plan) {
        let made = plan
            .steps()
            .any(|step| matches!(step, Step::Create(Key::Interface(Link::Host), _)));
        let Some((spec, _)) = self.spec.as_ref().filter(|_| made) else {
            return;
        };
        if let Err(error) = host::pair::make(&self.local, self.local.pod_mtu(spec)).await {
            // VPP does not find it then: that step fails and is tried again.
            tracing::warn!(%error, "the node's interface to VPP could not be made");
            self.host_error = Some(error.to_string());
        }
    }

    /// Keeps the node's own side of its interface as it should be, beside the agent.
    pub(super) fn follow_host(&mut self) {
        let up = self.state.objects.contains_key(&Key::Up(Link::Host));
        let Some((spec, _)) = &self.spec else { return };
        if !up || self.vpp.is_none() || self.host_busy || !self.desired.frozen.is_empty() {
            return;
        }
        let Some(side) = host::host_side(spec, &self.cluster, &self.local, &self.desired.host) else {
            return;
        };
        if self.host_side.as_ref() == Some(&side) {
            return;
        }
        self.host_busy = true;
        self.host_side = Some(side.clone());
        let events = self.events.clone();
        tokio::spawn(async move {
            let outcome = host::configure(&side).await.map_err(|error| error.to_string());
            if let Err(error) = &outcome {
                tracing::warn!(error, "the node's own side of its interface could not be made");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            let _ = events.send(Event::HostConfigured(outcome)).await;
        });
    }

    /// Why the node's kernel does not lead an attachment's host ports to it; `None` if it does, or has no part in it.
    pub(super) fn host_ports_missing(&self, attachment: &Attachment) -> Option<String> {
        if attachment.host_ports.is_empty() || self.local.host_interface.is_none() {
            return None;
        }
        let made = self
            .host_side
            .as_ref()
            .filter(|_| !self.host_busy && self.host_error.is_none());
        // Another pod's or a Service's, where it is not this one: that is said in the node's status.
        let wanted = &self.desired.host.nat.host_ports;
        match (made, &self.host_error) {
            (Some(side), _) if side.nat.rules.host_ports == *wanted => None,
            (_, Some(error)) => Some(format!("host ports in the node's kernel: {error}")),
            _ => Some("host ports are not in the node's kernel yet".to_owned()),
        }
    }
}
