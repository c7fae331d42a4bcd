//! Releases of VPP as the server plays them, against the table of every message's checksum in each release. The table is
//! no part of the repository: `CONTIV_SHARED`, or `../../shared` beside the crate.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use vpp_api::Client;
use vpp_api::message::Message as _;
use vpp_api::messages::ALL;
use vpp_api::messages::cnat::{CnatSetSnatPolicy, FeatureCnatEnableDisable, v0_3};
use vpp_sim::engine::Config;
use vpp_sim::server::{Identity, Release, spawn_as};

/// The message table of a release: checksums by name.
fn table(release: Release) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _server = spawn_as(Config::default(), Identity::of(release), &socket).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(Client::connect(&socket, "releases")).unwrap();
    assert_eq!(client.version().version, format!("{release}-sim"));
    let ours = ALL.iter().flat_map(|(_, messages)| *messages);
    let ours = ours.chain(v0_3::MESSAGES);
    ours.filter(|message| client.table().id(message.name_crc).is_some())
        .map(|message| {
            let (_, crc) = message.name_crc.rsplit_once('_').unwrap();
            (message.name.to_owned(), crc.to_owned())
        })
        .collect()
}

#[test]
fn cnat_is_the_releases_own() {
    for release in Release::ALL {
        let table = table(release);
        let has = |name_crc: &str| {
            let (name, crc) = name_crc.rsplit_once('_').unwrap();
            table.get(name).is_some_and(|found| found == crc)
        };
        let is_newest = release == Release::V26_06;
        assert_eq!(has(CnatSetSnatPolicy::NAME_CRC), is_newest, "{release}");
        assert_eq!(has(FeatureCnatEnableDisable::NAME_CRC), is_newest, "{release}");
        assert_eq!(has(v0_3::CnatSetSnatPolicy::NAME_CRC), !is_newest, "{release}");
        assert_eq!(has(v0_3::CnatSessionDetails::NAME_CRC), !is_newest, "{release}");
    }
}

#[test]
fn every_message_on_offer_is_in_that_release_with_that_checksum() {
    let shared = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(shared.join("vpp/crc-matrix.tsv")) else {
        eprintln!(
            "skipped: no vpp/crc-matrix.tsv in {} (set CONTIV_SHARED)",
            shared.display()
        );
        return;
    };
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = lines.map(|row| (row[1], row)).collect();
    for release in Release::ALL {
        let column = head
            .iter()
            .position(|name| *name == format!("v{release}"))
            .unwrap();
        let table = table(release);
        for (name, crc) in &table {
            let row = rows.get(name.as_str()).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(row[column], crc, "{name} in {release}");
        }
        // And whatever of ours the release has is on offer: nothing is left out by mistake.
        let newest = self::table(Release::default());
        for (name, crc) in newest {
            let same = rows[name.as_str()][column] == crc;
            assert!(
                !same || table.contains_key(&name),
                "{name} is missing in {release}"
            );
        }
    }
}
