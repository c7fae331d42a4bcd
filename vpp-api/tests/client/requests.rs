//! Requests, dumps, get-streams and events.

use crate::server::Server;
use std::time::Duration;
use tokio::time::timeout;
use vpp_api::messages::{acl::*, feature::*, interface::*, ip::*, memclnt::*};
use vpp_api::types::{IfStatusFlags, IpTable, NO_INDEX};
use vpp_api::{Error, Header, Options, Retval, VppEvent};

fn table(table_id: u32) -> IpTableAddDel {
    IpTableAddDel {
        is_add: true,
        table: IpTable {
            table_id,
            ..Default::default()
        },
    }
}

#[tokio::test]
async fn requests_are_sent_in_call_order_without_waiting_for_answers() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let pending: Vec<_> = (0..100).map(|id| client.send(table(id))).collect();
    let mut headers = Vec::new();
    for id in 0..100 {
        let (header, request) = vpp.expect::<IpTableAddDel>().await;
        assert_eq!(request.table.table_id, id);
        headers.push(header);
    }
    let mut contexts: Vec<u32> = headers.iter().map(|header| header.context).collect();
    contexts.dedup();
    assert!(
        contexts.is_sorted() && contexts.len() == 100,
        "contexts are used once: {contexts:?}"
    );
    // Each answer finds its request by context, in whatever order they come.
    for (id, header) in headers.into_iter().enumerate().rev() {
        let retval = i32::try_from(id).unwrap();
        vpp.answer(header, &IpTableAddDelReply { retval }).await;
    }
    for (id, pending) in pending.into_iter().enumerate() {
        let reply = pending.unchecked().await.unwrap();
        assert_eq!(reply.retval, i32::try_from(id).unwrap());
    }
}

#[tokio::test]
async fn no_more_than_the_window_is_in_flight() {
    let (client, mut vpp) = Server::start()
        .pair(Options {
            window: 3,
            ..Options::default()
        })
        .await;
    let pending: Vec<_> = (0..5).map(|id| client.send(table(id))).collect();
    let mut first = None;
    for _ in 0..3 {
        let (header, _) = vpp.expect::<IpTableAddDel>().await;
        first.get_or_insert(header);
    }
    let fourth = timeout(Duration::from_millis(100), vpp.receive()).await;
    assert!(fourth.is_err(), "a fourth request came before any answer");
    vpp.answer(first.unwrap(), &IpTableAddDelReply::default()).await;
    let (_, request) = vpp.expect::<IpTableAddDel>().await;
    assert_eq!(request.table.table_id, 3);
    drop(pending);
}

#[tokio::test]
async fn a_dump_ends_with_the_ping_behind_it_and_events_may_come_between() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let mut events = client.events();
    let dump = client.dump(SwInterfaceDump {
        sw_if_index: NO_INDEX,
        ..Default::default()
    });
    let behind = client.send(table(1));

    let (header, _) = vpp.expect::<SwInterfaceDump>().await;
    let (end, _) = vpp.expect::<ControlPing>().await;
    let (next, _) = vpp.expect::<IpTableAddDel>().await;
    let details = |index| SwInterfaceDetails {
        sw_if_index: index,
        ..Default::default()
    };
    vpp.answer(header, &details(0)).await;
    let event = SwInterfaceEvent {
        sw_if_index: 7,
        flags: IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP,
        deleted: false,
    };
    // Its pid is the dump's context, which must confuse nobody.
    vpp.answer(
        Header {
            client_index: 1,
            context: header.context,
        },
        &event,
    )
    .await;
    vpp.answer(header, &details(1)).await;
    vpp.answer(end, &ControlPingReply::default()).await;
    vpp.answer(next, &IpTableAddDelReply::default()).await;

    assert_eq!(dump.await.unwrap(), [details(0), details(1)]);
    behind.await.unwrap();
    assert_eq!(events.recv().await.unwrap(), VppEvent::SwInterface(event));
}

#[tokio::test]
async fn a_dump_of_nothing_is_empty() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let dump = client.dump(AclDump { acl_index: 99 });
    vpp.expect::<AclDump>().await;
    let (end, _) = vpp.expect::<ControlPing>().await;
    vpp.answer(end, &ControlPingReply::default()).await;
    assert_eq!(dump.await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_goes_on_at_the_cursor_while_vpp_says_again() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let server = async {
        let detail = |mtu| {
            let mut details = IpPathMtuDetails::default();
            details.pmtu.path_mtu = mtu;
            details
        };
        let (header, request) = vpp.expect::<IpPathMtuGet>().await;
        assert_eq!(request.cursor, 0);
        vpp.answer(header, &detail(1400)).await;
        vpp.answer(
            header,
            &IpPathMtuGetReply {
                retval: Retval::EAGAIN.0,
                cursor: 17,
            },
        )
        .await;
        let (header, request) = vpp.expect::<IpPathMtuGet>().await;
        assert_eq!(request.cursor, 17);
        vpp.answer(header, &detail(1300)).await;
        vpp.answer(
            header,
            &IpPathMtuGetReply {
                retval: 0,
                cursor: 99,
            },
        )
        .await;
    };
    let (found, ()) = tokio::join!(client.stream(IpPathMtuGet::default()), server);
    let mtus: Vec<u16> = found
        .unwrap()
        .iter()
        .map(|details| details.pmtu.path_mtu)
        .collect();
    assert_eq!(mtus, [1400, 1300]);
}

#[tokio::test]
async fn a_return_code_is_an_error_with_vpps_name() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let deleted = client.send(AclDel { acl_index: 1 });
    let listed = client.send(AclInterfaceSetAclList {
        sw_if_index: 1,
        n_input: 0,
        acls: vec![1, 1],
    });
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply { retval: -143 }).await;
    let (header, _) = vpp.expect::<AclInterfaceSetAclList>().await;
    vpp.answer(header, &AclInterfaceSetAclListReply { retval: 1 })
        .await;

    let error = deleted.await.unwrap_err();
    assert_eq!(error.to_string(), "acl_del: ACL_IN_USE_OUTBOUND (-143)");
    assert_eq!(error.retval(), Some(Retval::ACL_IN_USE_OUTBOUND));
    assert!(!error.is_closed());
    assert_eq!(
        listed.await.unwrap_err().to_string(),
        "acl_interface_set_acl_list: return code 1"
    );
}

#[tokio::test]
async fn odd_heads_odd_orders_and_tails_are_read() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let enabled = client.send(FeatureIsEnabled::default());
    let added = client.send(AclAddReplace {
        acl_index: NO_INDEX,
        ..Default::default()
    });
    // The context stands behind a client index here.
    let (header, _) = vpp.expect::<FeatureIsEnabled>().await;
    let reply = FeatureIsEnabledReply {
        retval: 0,
        is_enabled: true,
    };
    vpp.answer(
        Header {
            client_index: 0xdead_beef,
            ..header
        },
        &reply,
    )
    .await;
    // The return code stands behind the index here, and more bytes follow than belong to it.
    let (header, _) = vpp.expect::<AclAddReplace>().await;
    let id = vpp.id::<AclAddReplaceReply>();
    vpp.answer_as(
        id,
        header,
        &AclAddReplaceReply {
            acl_index: 5,
            retval: 0,
        },
        &[0xee; 21],
    )
    .await;
    assert!(enabled.await.unwrap().is_enabled);
    assert_eq!(added.await.unwrap().acl_index, 5);
}

#[tokio::test]
async fn the_wrong_id_vpp_really_uses_is_accepted_and_others_are_errors() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let counters = client.send(AclStatsIntfCountersEnable { enable: true });
    let deleted = client.send(AclDel { acl_index: 1 });
    let after = client.send(AclDel { acl_index: 2 });
    let (header, _) = vpp.expect::<AclStatsIntfCountersEnable>().await;
    vpp.answer(header, &AclDelReply { retval: 0 }).await;
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &IpTableAddDelReply { retval: 0 }).await;
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply { retval: 0 }).await;

    counters.await.unwrap();
    let error = deleted.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "acl_del: answered with ip_table_add_del_reply_e8d4e804"
    );
    after.await.unwrap();
}

#[tokio::test]
async fn an_answer_too_short_is_an_error_of_that_request_only() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let created = client.send(CreateLoopback::default());
    let after = client.send(AclDel { acl_index: 2 });
    let (header, _) = vpp.expect::<CreateLoopback>().await;
    // Four bytes of the eight of a create_loopback_reply.
    vpp.answer_as(
        vpp.id::<CreateLoopbackReply>(),
        header,
        &AclDelReply { retval: 0 },
        &[],
    )
    .await;
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply { retval: 0 }).await;
    assert!(matches!(
        created.await,
        Err(Error::Decode {
            message: "create_loopback",
            ..
        })
    ));
    after.await.unwrap();
}

#[tokio::test]
async fn a_request_goes_out_though_nobody_waits_for_its_answer() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    drop(client.send(AclDel { acl_index: 1 }));
    let second = client.send(AclDel { acl_index: 2 });
    for _ in 0..2 {
        let (header, request) = vpp.expect::<AclDel>().await;
        vpp.answer(
            header,
            &AclDelReply {
                retval: -i32::try_from(request.acl_index).unwrap(),
            },
        )
        .await;
    }
    assert_eq!(second.unchecked().await.unwrap().retval, -2);
}

#[tokio::test]
async fn what_cannot_be_encoded_is_not_sent() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let tag = "x".repeat(64);
    let error = client
        .call(SwInterfaceTagAddDel {
            is_add: true,
            sw_if_index: 1,
            tag,
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sw_interface_tag_add_del: field tag: 64 bytes do not fit, at most 63 do"
    );
    let next = client.send(AclDel { acl_index: 2 });
    vpp.expect::<AclDel>().await;
    drop(next);
}
