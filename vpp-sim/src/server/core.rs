//! The one state of a running dataplane: the engine, its devices, its clients. Everything that happens, an API
//! message or a packet, happens under one lock, as everything in VPP happens in one main loop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio::sync::watch;
use vpp_api::messages::interface::SwInterfaceEvent;
use vpp_api::messages::wireguard::WireguardPeerEvent;
use vpp_api::types::{IfStatusFlags, WireguardPeerFlags};

use super::clients::Clients;
use super::devices::Devices;
use super::dispatch::Dispatcher;
use super::handlers::ip_neighbor;
use super::tracer::Tracer;
use super::{Identity, State};
use crate::device::Fault;
use crate::engine::{Family, Output, Prefix, Vpp};
use crate::memif::{Change, Loss, Memifs};

/// Everything behind the lock.
pub struct Core {
    /// Tables and forwarding.
    pub vpp: Vpp,
    pub clients: Clients,
    pub devices: Devices,
    /// Absent where they are played.
    pub memifs: Option<Memifs>,
    pub tracer: Tracer,
    pub identity: Identity,
    /// Routes marked by `ip_table_replace_begin` and not added again since, by table.
    pub replacing: BTreeMap<(Family, u32), BTreeSet<Prefix>>,
    /// Looks at the tables after each API message.
    pub observer: Option<Observer>,
    started: Instant,
    state: watch::Sender<State>,
}

/// Called with the tables and the time, in nanoseconds since the start.
pub type Observer = Box<dyn FnMut(&mut Vpp, u64) + Send>;

impl Core {
    pub fn new(vpp: Vpp, devices: Devices, identity: Identity, state: watch::Sender<State>) -> Self {
        Self {
            vpp,
            clients: Clients::default(),
            devices,
            memifs: None,
            tracer: Tracer::default(),
            identity,
            replacing: BTreeMap::new(),
            observer: None,
            started: Instant::now(),
            state,
        }
    }

    /// Nanoseconds since the start, on a clock that only goes forward.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Input was met that kills real VPP: ends loudly, so that no test passes that sends it.
    pub fn die(&mut self, reason: String) {
        tracing::error!(reason, "VPP would have crashed");
        self.state.send_replace(State::Died(reason));
        self.clients.close_all();
    }

    /// Why it died, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.state.borrow().fatal()
    }

    pub fn is_running(&self) -> bool {
        *self.state.borrow() == State::Running
    }

    /// Takes what a device has to say.
    pub fn poll(&mut self, sw_if_index: u32, scratch: &mut [u8]) {
        let Some(device) = self.devices.get(sw_if_index).cloned() else {
            return;
        };
        match device.receive(scratch, &mut |frame| self.input(sw_if_index, frame)) {
            Ok(_) => {}
            Err(fault) => {
                tracing::info!(%fault, sw_if_index, "link down");
                match fault {
                    Fault::Down => self.devices.note_down(sw_if_index),
                    Fault::Gone(_) => self.devices.silence(sw_if_index),
                }
                self.carrier(sw_if_index, false);
            }
        }
    }

    /// Takes what memifs' sockets and rings have to say.
    pub fn poll_memifs(&mut self) {
        let changes = self.memifs.as_mut().map(Memifs::poll).unwrap_or_default();
        for change in changes {
            match change {
                Change::Link(sw_if_index, up) => self.carrier(sw_if_index, up),
                Change::Frame(sw_if_index, frame) => self.input(sw_if_index, &frame),
                Change::BadDescriptors(count) => {
                    (0..count).for_each(|_| self.vpp.count_error("memif-input", "bad_desc"));
                }
            }
        }
    }

    /// One received frame and everything it leads to.
    pub fn input(&mut self, sw_if_index: u32, frame: &[u8]) {
        let now = self.now();
        let input = self.vpp.interface(sw_if_index).map(|i| i.kind.input_node());
        let outputs = if let Some(input) = input.filter(|input| self.tracer.wants(input)) {
            let trace = self.vpp.walk(sw_if_index, frame, now);
            let name = self
                .vpp
                .interface(sw_if_index)
                .map_or("", |interface| interface.name.as_str());
            self.tracer.record(now, input, name, &trace);
            trace.outputs
        } else {
            self.vpp.rx(sw_if_index, frame, now)
        };
        self.transmit(&outputs);
    }

    fn transmit(&mut self, outputs: &[Output]) {
        for output in outputs {
            if let Some(device) = self.devices.get(output.sw_if_index) {
                if let Err(error) = device.transmit(&output.frame) {
                    tracing::trace!(%error, sw_if_index = output.sw_if_index, "frame not sent");
                }
            } else {
                self.transmit_memif(output);
            }
        }
    }

    fn transmit_memif(&mut self, output: &Output) {
        let sw_if_index = output.sw_if_index;
        let Some(memifs) = &mut self.memifs else { return };
        match memifs.transmit(sw_if_index, &output.frame) {
            Ok(()) | Err(Loss::NotConnected) => {}
            Err(Loss::NoFreeSlots) => {
                let name = self.vpp.interface(sw_if_index).map_or("", |i| i.name.as_str());
                let node = format!("{name}-tx");
                self.vpp.count_error(&node, "no_free_slots");
            }
            Err(Loss::Disconnected) => self.carrier(sw_if_index, false),
        }
    }

    /// Sends what VPP asks of the links by itself when routes and tunnels are given: who has their next hops.
    pub fn probe_next_hops(&mut self) {
        let now = self.now();
        let outputs = self.vpp.probe_fresh_next_hops(now);
        self.transmit(&outputs);
    }

    /// About once a second: ages sessions, looks at links that were down.
    pub fn tick(&mut self) {
        let now = self.now();
        let outputs = self.vpp.tick(now);
        self.transmit(&outputs);
        if let Some(memifs) = &mut self.memifs {
            memifs.tick();
        }
        for sw_if_index in self.devices.recovered() {
            tracing::info!(sw_if_index, "link up");
            self.carrier(sw_if_index, true);
        }
    }

    fn carrier(&mut self, sw_if_index: u32, up: bool) {
        if let Err(error) = self.vpp.set_carrier(sw_if_index, up) {
            tracing::debug!(%error, sw_if_index, "device without interface");
        }
    }

    /// Sends what has happened to those who want to know.
    pub fn deliver_events(&mut self, dispatcher: &Dispatcher) {
        self.deliver_wireguard_events(dispatcher);
        self.deliver_neighbor_events(dispatcher);
        let events = self.vpp.drain_events();
        if events.is_empty() {
            return;
        }
        for (client, pid, outgoing) in self.clients.interface_subscribers() {
            let mut frames = Vec::new();
            for event in &events {
                let event = SwInterfaceEvent {
                    sw_if_index: event.sw_if_index,
                    flags: IfStatusFlags(event.flags),
                    deleted: event.deleted,
                };
                dispatcher.event(&mut frames, client, pid, &event);
            }
            outgoing.push(&frames);
        }
    }

    fn deliver_neighbor_events(&mut self, dispatcher: &Dispatcher) {
        for event in self.vpp.drain_neighbor_events() {
            let watcher = event.watcher;
            let Some(outgoing) = self.clients.outgoing(watcher.client) else {
                continue;
            };
            let mut frame = Vec::new();
            match ip_neighbor::event(&event) {
                ip_neighbor::Event::V1(message) => {
                    dispatcher.event(&mut frame, watcher.client, watcher.pid, &message);
                }
                ip_neighbor::Event::V2(message) => {
                    dispatcher.event(&mut frame, watcher.client, watcher.pid, &message);
                }
            }
            outgoing.push(&frame);
        }
    }

    /// The connection of a client has ended, its subscriptions and what was kept for it too.
    pub fn disconnected(&mut self, client: u32) {
        self.clients.disconnect(client);
        self.vpp.forget_neighbor_watchers(client);
        self.tracer.forget(client);
    }

    fn deliver_wireguard_events(&mut self, dispatcher: &Dispatcher) {
        for event in self.vpp.drain_wireguard_events() {
            let Some(outgoing) = self.clients.outgoing(event.client) else {
                continue;
            };
            let mut frame = Vec::new();
            let message = WireguardPeerEvent {
                peer_index: event.peer_index,
                flags: WireguardPeerFlags(event.flags),
            };
            // VPP fills in neither client index nor pid.
            dispatcher.event(&mut frame, 0, 0, &message);
            outgoing.push(&frame);
        }
    }
}
