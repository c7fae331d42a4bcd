//! In which order ACLs and the lists of interfaces change. Pure.
//!
//! VPP takes each change by itself, and packets pass in between. So that at every moment an interface lets pass only what
//! its old or its new lists let pass, and always what both do:
//! 1. New ACLs come first; nothing lists them yet.
//! 2. A list that loses an ACL whose rules change leaves it before that.
//! 3. ACLs that share a list with something else that changes grow to their old and new rules together, so that what one
//!    loses and another gains is never without either.
//! 4. Lists change.
//! 5. What grew loses its old rules.
//!
//! A list that changes in the same moment as ACLs on it may for a while let pass less than both configurations do, never
//! more: of two changes that each want to come first, the one that closes does. ACLs with denies cannot grow, as the
//! order of their rules counts: they change in one go, between 3 and 4.

use std::collections::{BTreeMap, BTreeSet};

use super::{Objects, Step};
use crate::objects::{AclLists, Action, Key, Object, Rule};

/// Steps around the others.
#[derive(Default)]
pub(super) struct Ordered {
    /// Stages before.
    pub before: Vec<Vec<Step>>,
    /// In between, with everything else by rank.
    pub between: Vec<Step>,
    /// The stage after.
    pub after: Vec<Step>,
}

/// Takes the changes apart; `desired` are the lists that interfaces will have.
pub(super) fn order(changes: Vec<Step>, desired: &Objects) -> Ordered {
    let replaced: BTreeSet<String> = changes
        .iter()
        .filter_map(|step| match step {
            Step::Update(Key::Acl(tag), ..) => Some(tag.clone()),
            _ => None,
        })
        .collect();
    let mut ordered = Ordered::default();
    if replaced.is_empty() {
        ordered.between = changes;
        return ordered;
    }
    let (made, changes): (Vec<Step>, Vec<Step>) = changes
        .into_iter()
        .partition(|step| matches!(step, Step::Create(Key::Acl(_), _)));
    let (contested, joined) = contested(&changes, desired, &replaced);
    let (mut left, mut grown, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for step in changes {
        match step {
            Step::Update(key, Object::AclBinding(old), Object::AclBinding(new)) => {
                let joins = differ(&new, &old, &replaced);
                match (differ(&old, &new, &replaced), joins) {
                    (false, true) => ordered.between.push(relist(key, old, new)),
                    (false, false) => moved.push(relist(key, old, new)),
                    (true, false) => left.push(relist(key, old, new)),
                    (true, true) => {
                        let less = without(&old, &new, &replaced);
                        left.push(relist(key.clone(), old, less.clone()));
                        ordered.between.push(relist(key, less, new));
                    }
                }
            }
            Step::Update(Key::Acl(tag), Object::Acl(old), Object::Acl(new)) if contested.contains(&tag) => {
                let Some(both) = together(&old, &new) else {
                    ordered.between.push(rewrite(&tag, old, new));
                    continue;
                };
                if both != old {
                    grown.push(rewrite(&tag, old, both.clone()));
                }
                if both != new {
                    let shrink = rewrite(&tag, both, new);
                    if joined.contains(&tag) {
                        ordered.between.push(shrink);
                    } else {
                        ordered.after.push(shrink);
                    }
                }
            }
            other => ordered.between.push(other),
        }
    }
    ordered.before = [made, left, grown, moved]
        .into_iter()
        .filter(|stage| !stage.is_empty())
        .collect();
    ordered
}

fn relist(key: Key, old: AclLists, new: AclLists) -> Step {
    Step::Update(key, Object::AclBinding(old), Object::AclBinding(new))
}

fn rewrite(tag: &str, old: Vec<Rule>, new: Vec<Rule>) -> Step {
    Step::Update(Key::Acl(tag.to_owned()), Object::Acl(old), Object::Acl(new))
}

/// Whether a direction's list in `one` has an ACL to be replaced that it has not in `other`.
fn differ(one: &AclLists, other: &AclLists, replaced: &BTreeSet<String>) -> bool {
    let directions = [(&one.input, &other.input), (&one.output, &other.output)];
    directions.into_iter().any(|(one, other)| {
        one.iter()
            .any(|tag| replaced.contains(tag) && !other.contains(tag))
    })
}

/// The old lists without what they lose of the ACLs to be replaced.
fn without(old: &AclLists, new: &AclLists, replaced: &BTreeSet<String>) -> AclLists {
    let keep = |old: &[String], new: &[String]| -> Vec<String> {
        let kept = old
            .iter()
            .filter(|tag| new.contains(tag) || !replaced.contains(*tag));
        let kept: Vec<String> = kept.cloned().collect();
        // No ACL at all would make no sessions, and replies would be lost where the other direction is isolated.
        if kept.is_empty() { old.to_vec() } else { kept }
    };
    AclLists {
        input: keep(&old.input, &new.input),
        output: keep(&old.output, &new.output),
    }
}

/// ACLs to be replaced that some list has beside another change; and those that some list has newly.
fn contested(
    changes: &[Step],
    desired: &Objects,
    replaced: &BTreeSet<String>,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let listed: BTreeMap<&Key, Option<&AclLists>> = changes
        .iter()
        .filter_map(|step| match step {
            Step::Update(key, Object::AclBinding(old), _) => Some((key, Some(old))),
            Step::Create(key @ Key::AclBinding(_), _) => Some((key, None)),
            _ => None,
        })
        .collect();
    let (mut contested, mut joined) = (BTreeSet::new(), BTreeSet::new());
    for (key, object) in desired {
        let Object::AclBinding(new) = object else { continue };
        let change = listed.get(key);
        for (direction, list) in [(0, &new.input), (1, &new.output)] {
            let own: Vec<&String> = list.iter().filter(|tag| replaced.contains(*tag)).collect();
            let old = change.map(|old| {
                old.map_or(
                    &[][..],
                    |old| if direction == 0 { &old.input } else { &old.output },
                )
            });
            let relisted = old.is_some_and(|old| old != list.as_slice());
            if own.len() > 1 || relisted {
                contested.extend(own.iter().map(|tag| (*tag).clone()));
            }
            if let Some(old) = old {
                joined.extend(
                    own.iter()
                        .filter(|tag| !old.contains(**tag))
                        .map(|tag| (*tag).clone()),
                );
            }
        }
    }
    (contested, joined)
}

/// The rules of both, as `desired` would sort them; `None` where their order counts.
fn together(old: &[Rule], new: &[Rule]) -> Option<Vec<Rule>> {
    let both: BTreeSet<Rule> = old.iter().chain(new).copied().collect();
    both.iter()
        .all(|rule| rule.action != Action::Deny)
        .then(|| both.into_iter().collect())
}
