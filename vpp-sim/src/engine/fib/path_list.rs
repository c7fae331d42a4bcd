//! Path lists shared by all routes (or ABF policies) with equal paths.
//!
//! Sharing matters because of a trap: when an interface goes, its paths are unresolved for ever, and a
//! route added later with equal paths joins the poisoned list, even if the index lives again.
use std::collections::BTreeMap;

use crate::engine::pool::Pool;
use crate::engine::types::{NONE, RoutePath};

/// Lists of routes and of policies (ABF, l3xc) are not shared with each other: their flags differ.
/// Those of interfaces and neighbours are not shared at all (`fib_entry_src_adj.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListKind {
    Route,
    Policy,
    Own,
}

#[derive(Clone, Debug)]
pub(crate) struct PathList {
    kind: ListKind,
    pub paths: Vec<RoutePath>,
    /// Per path: its interface was deleted while the list lived.
    pub poisoned: Vec<bool>,
    users: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PathLists {
    lists: Pool<PathList>,
    by_paths: BTreeMap<(ListKind, Vec<RoutePath>), u32>,
}

impl PathLists {
    /// The list of these paths, made if there is none, with one more user.
    pub fn lock(&mut self, kind: ListKind, mut paths: Vec<RoutePath>) -> u32 {
        for path in &mut paths {
            path.weight = path.weight.max(1);
        }
        paths.sort_by_key(|p| (p.preference, p.clone()));
        let key = (kind, paths);
        let shared = kind != ListKind::Own;
        if let Some(index) = self.by_paths.get(&key) {
            if let Some(list) = self.lists.get_mut(*index) {
                list.users += 1;
            }
            return *index;
        }
        let index = self.lists.insert(PathList {
            kind,
            poisoned: vec![false; key.1.len()],
            paths: key.1.clone(),
            users: 1,
        });
        if shared {
            self.by_paths.insert(key, index);
        }
        index
    }

    pub fn unlock(&mut self, index: u32) {
        let Some(list) = self.lists.get_mut(index) else {
            return;
        };
        list.users -= 1;
        if list.users == 0
            && let Some(list) = self.lists.remove(index)
        {
            self.by_paths.remove(&(list.kind, list.paths));
        }
    }

    pub fn get(&self, index: u32) -> Option<&PathList> {
        self.lists.get(index)
    }

    pub fn paths(&self, index: u32) -> &[RoutePath] {
        self.lists.get(index).map_or(&[], |list| &list.paths)
    }

    /// Poisons every path through the interface.
    pub fn interface_gone(&mut self, sw_if_index: u32) {
        for (_, list) in self.lists.iter_mut() {
            for (path, poisoned) in list.paths.iter().zip(&mut list.poisoned) {
                if path.sw_if_index == sw_if_index && sw_if_index != NONE {
                    *poisoned = true;
                }
            }
        }
    }

    /// Number of paths that no deletion of a route has cleaned up yet.
    pub fn poisoned(&self) -> usize {
        self.lists
            .iter()
            .flat_map(|(_, list)| &list.poisoned)
            .filter(|p| **p)
            .count()
    }
}
