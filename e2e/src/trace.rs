//! Follows one connection through pods: who saw its packets, on which interface, in which order, with which TTL.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::assets;
use crate::cluster::Cluster;
use crate::probe::Probe;
use crate::probe::sniff::Sighting;
use crate::process::{Process, Program};

/// One packet at one interface of one pod.
#[derive(Clone, Debug)]
pub struct Step {
    /// The pod.
    pub pod: String,
    /// What was seen there.
    pub seen: Sighting,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.seen.outgoing { "leaves" } else { "enters" };
        let (from, to) = (self.seen.source, self.seen.destination);
        write!(
            f,
            "{verb} {} by {}: {from} → {to}, TTL {}",
            self.pod, self.seen.interface, self.seen.ttl
        )
    }
}

/// The first packet of a connection and the first one back, each step by step.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// From the client.
    pub forward: Vec<Step>,
    /// To the client.
    pub reply: Vec<Step>,
}

impl Trace {
    /// The way as `pod/interface` words.
    pub fn places(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| format!("{}/{}", step.pod, step.seen.interface))
            .collect()
    }
}

/// Makes one TCP connection from a pod and watches for it in these pods.
pub async fn trace(cluster: &Cluster, from: &str, probe: &Probe, watched: &[&str]) -> Result<Trace> {
    let mut sniffers = Vec::new();
    for key in watched {
        let name = format!("sniff-{}", key.replace('/', "-"));
        let log = cluster.run().dir().join("logs").join(format!("{name}.log"));
        let _ = std::fs::remove_file(&log);
        let program = Program::new(name, assets::own("contiv-probe")?)
            .within(&cluster.netns_of(key)?)
            .arg("sniff");
        sniffers.push(((*key).to_owned(), Process::start(cluster.run(), program)?));
    }
    for (key, sniffer) in &mut sniffers {
        let mut patience = 200;
        while sniffer.log_tail(1).is_empty() {
            sniffer.check().with_context(|| format!("watching {key}"))?;
            if patience == 0 {
                bail!("the watcher in {key} does not start");
            }
            patience -= 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    cluster.ask(from, &probe.clone().times(1)).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut steps = Vec::new();
    for (key, mut sniffer) in sniffers {
        sniffer.kill();
        let text = std::fs::read_to_string(sniffer.log())?;
        let seen = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Sighting>(line).ok());
        steps.extend(seen.map(|seen| Step {
            pod: key.clone(),
            seen,
        }));
    }
    Ok(assemble(steps, from))
}

/// Sorts what was seen into the first connection's two directions. A service's address may be
/// translated on the way, so the connection is known by the client's port.
fn assemble(mut steps: Vec<Step>, from: &str) -> Trace {
    steps.retain(|step| step.seen.syn);
    steps.sort_by_key(|step| step.seen.at);
    let first = steps.iter().find(|step| step.pod == from && step.seen.outgoing);
    let Some(port) = first.map(|step| step.seen.source_port) else {
        return Trace::default();
    };
    let mut trace = Trace::default();
    for step in steps {
        let list = if step.seen.source_port == port {
            &mut trace.forward
        } else if step.seen.destination_port == port {
            &mut trace.reply
        } else {
            continue;
        };
        // A segment that is sent again is not another step.
        let again = |other: &Step| {
            (&other.pod, &other.seen.interface, other.seen.outgoing)
                == (&step.pod, &step.seen.interface, step.seen.outgoing)
        };
        if !list.iter().any(again) {
            list.push(step);
        }
    }
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(pod: &str, at: u64, interface: &str, outgoing: bool, ports: (u16, u16)) -> Step {
        let address = "10.1.1.2".parse().unwrap();
        Step {
            pod: pod.to_owned(),
            seen: Sighting {
                at,
                interface: interface.to_owned(),
                outgoing,
                source: address,
                destination: address,
                source_port: ports.0,
                destination_port: ports.1,
                ttl: 64,
                syn: true,
            },
        }
    }

    #[test]
    fn steps_are_in_order_of_time_and_without_repeats() {
        let steps = vec![
            step("web", 30, "eth0", false, (4000, 80)),
            step("fw", 21, "out", true, (4000, 80)),
            step("fw", 20, "in", false, (4000, 80)),
            step("client", 10, "eth0", true, (4000, 80)),
            step("client", 500, "eth0", true, (4000, 80)),
            step("web", 31, "eth0", true, (80, 4000)),
            step("client", 40, "eth0", false, (80, 4000)),
            step("web", 33, "eth0", false, (4001, 80)),
        ];
        let trace = assemble(steps, "client");
        assert_eq!(
            Trace::places(&trace.forward),
            ["client/eth0", "fw/in", "fw/out", "web/eth0"]
        );
        assert_eq!(Trace::places(&trace.reply), ["web/eth0", "client/eth0"]);
    }
}
