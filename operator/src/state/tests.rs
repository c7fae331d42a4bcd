use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("", name)
}

fn node(name: &str) -> (ObjectKey, Node) {
    let fact = Node {
        name: name.into(),
        ..Node::default()
    };
    (key(name), fact)
}

fn replace<T>(objects: Vec<(ObjectKey, T)>) -> Change<T> {
    Change::Replace {
        objects,
        unreadable: Vec::new(),
    }
}

fn config(version: u64, id: u16) -> (Stored, NodeReport) {
    let stored = Stored {
        version: Some(version),
        revision: Some(format!("r{version}")),
        managed: true,
        ..Stored::default()
    };
    let report = NodeReport {
        id,
        ..NodeReport::default()
    };
    (stored, report)
}

#[test]
fn incomplete_until_every_list_is_there_and_the_last_one_asks_for_a_compile() {
    let mut state = State::new(Settings::default());
    let total = Source::all().len();
    assert_eq!(state.missing().len(), total);
    let dirty = state.apply(Input::Nodes(Change::Apply(key("a"), node("a").1)));
    assert!(dirty.facts);
    assert_eq!(state.missing().len(), total, "an event is not a complete list");
    assert!(state.apply(Input::Pods(replace(vec![]))).facts);
    assert_eq!(state.missing().len(), total - 1);
    assert!(!state.missing().contains(&"Pod"));
}

#[test]
fn a_complete_list_removes_what_vanished_while_the_watch_was_away() {
    let mut state = State::new(Settings::default());
    state.apply(Input::Nodes(replace(vec![node("a"), node("b")])));
    let dirty = state.apply(Input::Nodes(replace(vec![node("b")])));
    assert!(dirty.facts);
    let names: Vec<_> = state.engine.cluster().nodes().map(|node| &node.name).collect();
    assert_eq!(names, ["b"]);
    let dirty = state.apply(Input::Nodes(replace(vec![node("b")])));
    assert_eq!(dirty, Dirty::default(), "nothing new");
}

#[test]
fn an_unreadable_chain_keeps_what_was_known_of_it() {
    let mut state = State::new(Settings::default());
    let intent = Intent {
        fact: Chain {
            namespace: "n".into(),
            name: "c".into(),
            ..Chain::default()
        },
        status: StoredStatus::default(),
    };
    let key = ObjectKey::new("n", "c");
    state.apply(Input::Chains(replace(vec![(key.clone(), intent)])));
    state.apply(Input::Chains(Change::Replace {
        objects: vec![],
        unreadable: vec![key.clone()],
    }));
    assert_eq!(state.engine.cluster().chains().count(), 1);
    state.apply(Input::Chains(replace(vec![])));
    assert_eq!(state.engine.cluster().chains().count(), 0);
}

#[test]
fn late_echoes_of_our_own_writes_change_nothing() {
    let mut state = State::new(Settings::default());
    let kind = OutputKind::Config;
    let dirty = state.apply(Input::Outputs(kind, Change::Apply(key("a"), config(7, 1))));
    assert!(dirty.objects);
    let dirty = state.apply(Input::Outputs(kind, Change::Apply(key("a"), config(5, 1))));
    assert_eq!(dirty, Dirty::default());
    let mut same = config(9, 1);
    same.0.revision = Some("r7".into());
    let dirty = state.apply(Input::Outputs(kind, Change::Apply(key("a"), same)));
    assert_eq!(dirty, Dirty::default(), "only the version moved");
    let dirty = state.apply(Input::Outputs(kind, Change::Remove(key("a"))));
    assert!(dirty.objects, "deleted by someone else");
}

#[test]
fn node_ids_come_from_vpp_configs_whatever_the_order_of_arrival() {
    let mut state = State::new(Settings::default());
    state.apply(Input::Nodes(replace(vec![node("a"), node("b"), node("c")])));
    assert_eq!(state.engine.cluster().node_id("a"), Some(1), "a guess");
    state.apply(Input::Outputs(
        OutputKind::Config,
        replace(vec![
            (key("a"), config(1, 3)),
            (key("b"), config(1, 1)),
            // A node that is gone keeps no id.
            (key("gone"), config(1, 2)),
        ]),
    ));
    state.adopt_node_ids();
    assert_eq!(state.engine.cluster().node_id("a"), Some(3));
    assert_eq!(state.engine.cluster().node_id("b"), Some(1));
    assert_eq!(
        state.engine.cluster().node_id("c"),
        Some(2),
        "the smallest free one"
    );
}
