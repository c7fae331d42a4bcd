use super::*;
use crds::vpp_config::PodBinding;
use crds::{VppAddressSetSpec, VppConfigSpec, VppPolicySpec};

fn compiled<S: Revisioned>(spec: S, revision: &str) -> Compiled<S> {
    Compiled {
        spec: spec.with_revision(revision.to_owned()),
        owner: None,
    }
}

fn node_owner() -> Option<Owner> {
    Some(Owner {
        api_version: "v1",
        kind: "Node",
        name: "node-1".into(),
        uid: "uid-1".into(),
    })
}

/// One set, one policy, one node.
fn output() -> Output {
    let mut output = Output::default();
    let set = compiled(VppAddressSetSpec::default(), "s1");
    output.sets.insert(ObjectKey::new("n", "set-0"), set);
    let policy = compiled(VppPolicySpec::default(), "p1");
    output.policies.insert(ObjectKey::new("n", "allow"), policy);
    let mut config = compiled(VppConfigSpec::default(), "c1");
    config.owner = node_owner();
    output.configs.insert("node-1".into(), config);
    output
}

/// Compares everything.
fn whole(output: &Output, stored: &BTreeMap<OutputKey, Stored>, memory: &mut Memory, now: Instant) -> Plan {
    plan(output, stored, Scope::Everything, memory, now)
}

fn key(kind: OutputKind, namespace: &str, name: &str) -> OutputKey {
    OutputKey {
        kind,
        object: ObjectKey::new(namespace, name),
    }
}

fn stored(revision: &str, owner: Option<&str>) -> Stored {
    Stored {
        revision: Some(revision.to_owned()),
        managed: true,
        owner: owner.map(str::to_owned),
        ..Stored::default()
    }
}

/// What is stored once everything of [`output`] is written.
fn settled() -> BTreeMap<OutputKey, Stored> {
    BTreeMap::from([
        (key(OutputKind::AddressSet, "n", "set-0"), stored("s1", None)),
        (key(OutputKind::Policy, "n", "allow"), stored("p1", None)),
        (key(OutputKind::Config, "", "node-1"), stored("c1", Some("uid-1"))),
    ])
}

fn names(keys: &[OutputKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn written(plan: &Plan) -> Vec<String> {
    plan.writes.iter().map(|write| write.key.to_string()).collect()
}

#[test]
fn what_is_named_is_written_before_what_names_it() {
    let plan = whole(
        &output(),
        &BTreeMap::new(),
        &mut Memory::default(),
        Instant::now(),
    );
    assert_eq!(
        written(&plan),
        ["VppAddressSet n/set-0", "VppPolicy n/allow", "VppConfig node-1"]
    );
    let stages: Vec<_> = plan.writes.iter().map(|w| w.key.kind.stage()).collect();
    assert!(stages.is_sorted());
    assert!(plan.deletes.is_empty());
}

#[test]
fn nothing_is_written_twice() {
    let plan = whole(&output(), &settled(), &mut Memory::default(), Instant::now());
    assert_eq!(
        plan,
        Plan {
            unchanged: 3,
            ..Plan::default()
        }
    );
}

#[test]
fn what_makes_a_write_necessary() {
    let config = key(OutputKind::Config, "", "node-1");
    type Edit = fn(&mut Stored);
    let cases: [(&str, Edit); 4] = [
        ("another revision", |s| s.revision = Some("c0".into())),
        ("edited by someone else", |s| s.revision = None),
        ("the Node was made again", |s| s.owner = Some("uid-0".into())),
        ("someone took our label away", |s| s.managed = false),
    ];
    for (case, edit) in cases {
        let mut stored = settled();
        edit(stored.get_mut(&config).unwrap());
        let plan = whole(&output(), &stored, &mut Memory::default(), Instant::now());
        assert_eq!(written(&plan), ["VppConfig node-1"], "{case}");
    }
}

#[test]
fn leftovers_go_in_reverse_order_and_sets_after_the_grace() {
    let mut memory = Memory::default();
    let start = Instant::now();
    let nothing = Output::default();
    let first = whole(&nothing, &settled(), &mut memory, start);
    assert_eq!(names(&first.deletes), ["VppConfig node-1", "VppPolicy n/allow"]);
    assert_eq!(
        memory.next(start),
        Some(start + SET_GRACE),
        "a pass is due though nothing changes"
    );

    let set = key(OutputKind::AddressSet, "n", "set-0");
    let left = BTreeMap::from([(set.clone(), stored("s1", None))]);
    let early = start + SET_GRACE - Duration::from_millis(1);
    assert!(whole(&nothing, &left, &mut memory, early).deletes.is_empty());
    let late = whole(&nothing, &left, &mut memory, start + SET_GRACE);
    assert_eq!(late.deletes, [set]);
}

#[test]
fn a_set_that_is_named_again_starts_its_grace_anew() {
    let mut memory = Memory::default();
    let start = Instant::now();
    let nothing = Output::default();
    let _ = whole(&nothing, &settled(), &mut memory, start);
    let _ = whole(&output(), &settled(), &mut memory, start + SET_GRACE / 2);
    assert_eq!(memory.next(start), None);
    let again = whole(&nothing, &settled(), &mut memory, start + SET_GRACE);
    assert!(
        names(&again.deletes)
            .iter()
            .all(|name| !name.starts_with("VppAddressSet"))
    );
}

#[test]
fn objects_of_others_are_never_deleted() {
    let mut stored = settled();
    for object in stored.values_mut() {
        object.managed = false;
    }
    let plan = whole(
        &Output::default(),
        &stored,
        &mut Memory::default(),
        Instant::now(),
    );
    assert!(plan.deletes.is_empty());
}

#[test]
fn a_failed_write_waits_longer_each_time_but_news_is_tried_at_once() {
    let mut memory = Memory::default();
    let start = Instant::now();
    let policy = Target::Object(key(OutputKind::Policy, "n", "allow"));
    let mut stored = settled();
    stored.remove(&key(OutputKind::Policy, "n", "allow"));
    // Doubling from half a second.
    let mut now = start;
    for pause in [500, 1000, 2000, 4000] {
        memory.failed(policy.clone(), "p1", now);
        let due = now + Duration::from_millis(pause);
        assert_eq!(memory.next(now), Some(due));
        let early = whole(&output(), &stored, &mut memory, due - Duration::from_millis(1));
        assert!(written(&early).is_empty(), "{pause}");
        assert_eq!(
            written(&whole(&output(), &stored, &mut memory, due)),
            ["VppPolicy n/allow"]
        );
        now = due;
    }
    for _ in 0..20 {
        memory.failed(policy.clone(), "p1", now);
    }
    assert_eq!(memory.next(now), Some(now + LONGEST_PAUSE));
    assert_eq!(
        memory.next(now + LONGEST_PAUSE),
        None,
        "no busy loop over what is past"
    );
    let mut changed = output();
    let other = compiled(VppPolicySpec::default(), "p2");
    changed.policies.insert(ObjectKey::new("n", "allow"), other);
    assert_eq!(
        written(&whole(&changed, &stored, &mut memory, now)),
        ["VppPolicy n/allow"]
    );
    memory.succeeded(&policy);
    assert_eq!(memory.next(now), None);
}

#[test]
fn sizes_are_told_and_refused() {
    let binding = PodBinding {
        namespace: "n".repeat(63).into(),
        name: "p".repeat(253).into(),
        uid: "u".repeat(36).into(),
        ..PodBinding::default()
    };
    // Each binding is some 420 bytes of JSON.
    for (pods, reason, writes) in [
        (200, None, 1),
        (400, Some("ObjectLarge"), 1),
        (1500, Some("ObjectTooLarge"), 0),
    ] {
        let mut output = output();
        if let Some(config) = output.configs.get_mut("node-1") {
            config.spec.pods = vec![binding.clone(); pods];
            config.spec.revision = "c2".into();
        }
        let plan = whole(&output, &settled(), &mut Memory::default(), Instant::now());
        assert_eq!(plan.writes.len(), writes, "{pods} pods");
        assert_eq!(plan.refused.len(), 1 - writes, "{pods} pods");
        assert!(plan.deletes.is_empty(), "{pods} pods: the last good one stays");
        let told: Vec<_> = plan.problems.iter().map(|p| p.reason).collect();
        assert_eq!(told, Vec::from_iter(reason), "{pods} pods");
        for problem in &plan.problems {
            assert_eq!(
                (problem.object.kind, problem.object.name.as_str()),
                ("Node", "node-1")
            );
        }
    }
}

/// A pass that knows what changed finds in it what a pass over everything finds, and leaves the rest.
#[test]
fn a_pass_looks_at_what_changed_and_at_what_earlier_ones_left() {
    let (set, policy) = (
        key(OutputKind::AddressSet, "n", "set-0"),
        key(OutputKind::Policy, "n", "allow"),
    );
    let mut memory = Memory::default();
    let start = Instant::now();
    let mut of = |keys: &[&OutputKey], output: &Output, stored: &BTreeMap<_, _>, after| {
        let keys = keys.iter().map(|key| (*key).clone()).collect();
        plan(output, stored, Scope::Changed(&keys), &mut memory, start + after)
    };
    let none = BTreeMap::new();
    assert_eq!(of(&[], &output(), &none, Duration::ZERO), Plan::default());
    let first = of(&[&policy, &set], &output(), &none, Duration::ZERO);
    assert_eq!(written(&first), ["VppAddressSet n/set-0", "VppPolicy n/allow"]);

    // A set that nobody names waits; whatever changes then, its time comes.
    let gone = of(&[&set, &policy], &Output::default(), &settled(), Duration::ZERO);
    assert_eq!(names(&gone.deletes), ["VppPolicy n/allow"]);
    let late = of(&[], &Output::default(), &settled(), SET_GRACE);
    assert_eq!(names(&late.deletes), ["VppAddressSet n/set-0"]);

    // What failed is tried again though nothing changes.
    memory.clear();
    memory.failed(Target::Object(policy), "p1", start);
    let keys = BTreeSet::new();
    let due = memory.next(start).unwrap();
    let again = plan(&output(), &none, Scope::Changed(&keys), &mut memory, due);
    assert_eq!(written(&again), ["VppPolicy n/allow"]);
}

/// Told once and then no more would be taken for solved.
#[test]
fn what_is_too_large_is_told_as_long_as_it_is() {
    let mut output = output();
    let config = output.configs.get_mut("node-1").unwrap();
    config.spec.pods = vec![
        PodBinding {
            name: "p".repeat(253).into(),
            ..PodBinding::default()
        };
        3000
    ];
    config.spec.revision = "c2".into();
    let mut memory = Memory::default();
    let now = Instant::now();
    let keys = BTreeSet::from([key(OutputKind::Config, "", "node-1")]);
    let stored = settled();
    for keys in [keys, BTreeSet::new()] {
        let plan = plan(&output, &stored, Scope::Changed(&keys), &mut memory, now);
        let told: Vec<_> = plan.problems.iter().map(|p| p.reason).collect();
        assert_eq!(told, ["ObjectTooLarge"]);
    }
    output.configs.clear();
    let keys = BTreeSet::from([key(OutputKind::Config, "", "node-1")]);
    let gone = plan(&output, &stored, Scope::Changed(&keys), &mut memory, now);
    assert_eq!(names(&gone.deletes), ["VppConfig node-1"]);
    assert_eq!(memory.left(), BTreeSet::new());
}
