//! Index pools as VPP's: the index freed last is given out first (`vppinfra/pool.h`).

/// A pool of values addressed by stable 32-bit indices.
#[derive(Clone, Debug)]
pub(crate) struct Pool<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Pool<T> {
    /// The index which the next insertion will get.
    pub fn next_index(&self) -> u32 {
        self.free
            .last()
            .copied()
            .unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    pub fn insert(&mut self, value: T) -> u32 {
        let index = self.next_index();
        if self.free.pop().is_some() {
            self.slots[index as usize] = Some(value);
        } else {
            self.slots.push(Some(value));
        }
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(value)
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub fn contains(&self, index: u32) -> bool {
        self.get(index).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i as u32, slot.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(i, slot)| Some((i as u32, slot.as_mut()?)))
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn the_index_freed_last_is_reused_first() {
        let mut pool = Pool::default();
        for value in 0..4 {
            pool.insert(value);
        }
        pool.remove(1);
        pool.remove(2);
        assert_eq!(pool.insert(10), 2);
        assert_eq!(pool.insert(11), 1);
        assert_eq!(pool.insert(12), 4);
        assert_eq!(pool.len(), 5);
    }
}
