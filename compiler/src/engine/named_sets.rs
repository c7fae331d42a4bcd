//! The address sets that policies and chains name, and which groups they are made of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::groups::{GroupId, SetId};
use crate::facts::ObjectKey;
use crate::sets::SetKey;

/// Two sets would have the same name.
#[derive(Debug)]
pub struct Collision;

/// A set that someone names.
#[derive(Debug)]
pub struct Set {
    /// What it stands for.
    pub key: Arc<SetKey>,
    /// Its name.
    pub name: ObjectKey,
    /// The group of its pods; `None` for a block.
    pub group: Option<GroupId>,
    /// Groups of pods that are not meant.
    pub without: Vec<GroupId>,
    /// How many slices have been given out.
    pub slices: u32,
    users: u32,
}

/// All sets that someone names, and those that nobody names any more until they are swept.
#[derive(Debug, Default)]
pub struct NamedSets {
    ids: HashMap<Arc<SetKey>, SetId>,
    names: HashSet<ObjectKey>,
    slab: Vec<Option<Set>>,
    free: Vec<SetId>,
}

impl NamedSets {
    /// One more names the set. Returns whether it is new: then it needs its groups.
    ///
    /// # Errors
    /// Another set has the name.
    pub fn acquire(&mut self, key: SetKey, name: ObjectKey) -> Result<(SetId, bool), Collision> {
        if let Some(id) = self.ids.get(&key) {
            let id = *id;
            if let Some(set) = self.get_mut(id) {
                set.users += 1;
            }
            return Ok((id, false));
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            SetId::try_from(self.slab.len() - 1).unwrap_or(SetId::MAX)
        });
        if !self.names.insert(name.clone()) {
            return Err(Collision);
        }
        let key = Arc::new(key);
        self.ids.insert(Arc::clone(&key), id);
        self.slab[id as usize] = Some(Set {
            key,
            name,
            group: None,
            without: Vec::new(),
            slices: 0,
            users: 1,
        });
        Ok((id, true))
    }

    /// One less names the set. Returns whether it was the last.
    pub fn release(&mut self, id: SetId) -> bool {
        let Some(set) = self.get_mut(id) else {
            return false;
        };
        set.users -= 1;
        set.users == 0
    }

    /// A set that exists.
    pub fn get(&self, id: SetId) -> Option<&Set> {
        self.slab.get(id as usize)?.as_ref()
    }

    /// A set that exists.
    pub fn get_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.slab.get_mut(id as usize)?.as_mut()
    }

    /// Forgets the set, if nobody names it.
    pub fn sweep(&mut self, id: SetId) -> Option<Set> {
        let set = self.slab.get_mut(id as usize)?.take_if(|set| set.users == 0)?;
        self.ids.remove(&set.key);
        self.names.remove(&set.name);
        self.free.push(id);
        Some(set)
    }
}
