//! The workloads with this project's client.

use std::path::Path;
use std::time::Instant;

use vpp_api::Client;
use vpp_api::message::Request;
use vpp_api::messages::acl::{AclAddReplace, AclDel, AclDump};
use vpp_api::messages::cnat::{CnatTranslationDel, CnatTranslationDump, CnatTranslationUpdate};
use vpp_api::messages::interface::{CreateLoopback, DeleteLoopback};
use vpp_api::messages::ip::{IpRouteAddDelV2, IpRouteV2Dump, IpTableAddDel};
use vpp_api::messages::memclnt::ControlPing;
use vpp_api::types::{
    AclRule, CnatEndpoint, CnatEndpointTuple, CnatTranslation, CnatTranslationFlags, FibPath, IpProto,
    IpRouteV2, IpTable, NO_INDEX, Prefix,
};

use crate::{Counts, Rates};

/// A table of our own, which takes its routes with it.
const TABLE: u32 = 4242;

/// A host route of the bench.
pub fn route(n: u32, sw_if_index: u32) -> IpRouteAddDelV2 {
    let [_, a, b, c] = n.to_be_bytes();
    let route = IpRouteV2 {
        table_id: TABLE,
        prefix: Prefix::new([10, a, b, c].into(), 32),
        paths: vec![FibPath::via(sw_if_index, [192, 0, 2, 1].into())],
        ..IpRouteV2::default()
    };
    IpRouteAddDelV2 {
        is_add: true,
        is_multipath: false,
        route,
    }
}

/// A service of the bench.
pub fn translation(n: u32, backends: u8) -> CnatTranslationUpdate {
    let [_, _, high, low] = n.to_be_bytes();
    let backend = |b| CnatEndpointTuple {
        dst_ep: CnatEndpoint::new([10, 200, low, b].into(), 8080),
        src_ep: CnatEndpoint::new([0, 0, 0, 0].into(), 0),
        ..CnatEndpointTuple::default()
    };
    let translation = CnatTranslation {
        vip: CnatEndpoint::new([10, 96, high, low].into(), 80),
        ip_proto: IpProto(6),
        flags: CnatTranslationFlags::CNAT_TRANSLATION_NO_CLIENT.0,
        paths: (0..backends).map(backend).collect(),
        ..CnatTranslation::default()
    };
    CnatTranslationUpdate { translation }
}

/// A list of the bench.
pub fn list(acl_index: u32, rules: u32) -> AclAddReplace {
    let rule = |n: u32| {
        let [_, _, high, low] = n.to_be_bytes();
        AclRule {
            is_permit: 2.into(),
            src_prefix: Prefix::new([10, high, low, 0].into(), 24),
            dst_prefix: Prefix::new([10, 0, 0, 0].into(), 8),
            proto: IpProto(6),
            srcport_or_icmptype_last: u16::MAX,
            dstport_or_icmpcode_first: 80,
            dstport_or_icmpcode_last: 80,
            ..AclRule::default()
        }
    };
    AclAddReplace {
        acl_index,
        tag: "bench".into(),
        r: (0..rules).map(rule).collect(),
    }
}

struct Bench {
    client: Client,
    pipelined: bool,
    rates: Rates,
}

impl Bench {
    async fn all<R: Request>(&self, requests: impl Iterator<Item = R>) -> Vec<R::Reply> {
        let mut replies = Vec::new();
        if self.pipelined {
            let pending: Vec<_> = requests.map(|request| self.client.send(request)).collect();
            for reply in pending {
                replies.push(reply.await.unwrap());
            }
        } else {
            for request in requests {
                replies.push(self.client.call(request).await.unwrap());
            }
        }
        replies
    }

    fn report(&mut self, workload: &str, count: u32, started: Instant) {
        let rate = f64::from(count) / started.elapsed().as_secs_f64();
        self.rates.insert(workload.to_owned(), rate);
    }

    async fn requests(&mut self, counts: Counts, sw_if_index: u32) {
        let (pings, routes) = if self.pipelined {
            (counts.pings, counts.routes)
        } else {
            (counts.sequential, counts.sequential)
        };
        let started = Instant::now();
        self.all((0..pings).map(|_| ControlPing {})).await;
        self.report("pings", pings, started);
        let started = Instant::now();
        self.all((0..routes).map(|n| route(n, sw_if_index))).await;
        self.report("routes", routes, started);
        if counts.repeats == 0 {
            return;
        }
        let started = Instant::now();
        let table = IpTable {
            table_id: TABLE,
            ..IpTable::default()
        };
        let shown = self.client.dump(IpRouteV2Dump { src: 8, table }).await.unwrap();
        self.report("route-dump", routes, started);
        assert_eq!(shown.len(), routes as usize);
    }

    async fn objects(&mut self, counts: Counts) {
        let started = Instant::now();
        let made = self
            .all((0..counts.translations).map(|n| translation(n, counts.backends)))
            .await;
        self.report("translations", counts.translations, started);
        let started = Instant::now();
        let shown = self.client.dump(CnatTranslationDump {}).await.unwrap();
        self.report("translation-dump", counts.translations, started);
        assert!(shown.len() >= counts.translations as usize);
        self.all(made.iter().map(|reply| CnatTranslationDel { id: reply.id }))
            .await;

        let acl_index = self
            .client
            .call(list(NO_INDEX, counts.rules))
            .await
            .unwrap()
            .acl_index;
        let request = list(acl_index, counts.rules);
        let started = Instant::now();
        self.all((0..counts.repeats).map(|_| request.clone())).await;
        self.report("acl-replace", counts.repeats, started);
        let started = Instant::now();
        for _ in 0..counts.repeats {
            let shown = self.client.dump(AclDump { acl_index }).await.unwrap();
            assert_eq!(shown[0].r.len(), counts.rules as usize);
        }
        self.report("acl-dump", counts.repeats, started);
        self.client.call(AclDel { acl_index }).await.unwrap();
    }
}

async fn bench(socket: &Path, counts: Counts, pipelined: bool) -> Rates {
    let client = Client::connect(socket, "bench").await.unwrap();
    let mut bench = Bench {
        client: client.clone(),
        pipelined,
        rates: Rates::new(),
    };
    let sw_if_index = client.call(CreateLoopback::default()).await.unwrap().sw_if_index;
    let table = IpTable {
        table_id: TABLE,
        ..IpTable::default()
    };
    let add = IpTableAddDel {
        is_add: true,
        table: table.clone(),
    };
    client.call(add).await.unwrap();
    bench.requests(counts, sw_if_index).await;
    if pipelined && counts.repeats > 0 {
        bench.objects(counts).await;
    }
    client.call(IpTableAddDel { is_add: false, table }).await.unwrap();
    client.call(DeleteLoopback { sw_if_index }).await.unwrap();
    client.disconnect().await;
    bench.rates
}

/// Everything once, on a runtime of its own as a node's daemon has it.
pub fn run(socket: &Path, counts: Counts, pipelined: bool) -> Rates {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench(socket, counts, pipelined))
}
