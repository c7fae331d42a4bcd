//! Which sequence numbers were seen: a sliding window (RFC 4303, 3.4.3; RFC 6479).
use std::collections::VecDeque;

/// The last `size` numbers up to the greatest one seen.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    size: u64,
    /// One more than the greatest number seen.
    next: u64,
    /// Whether `next - 1`, `next - 2` … were seen.
    seen: VecDeque<bool>,
}

impl Window {
    pub fn new(size: u64) -> Self {
        Self {
            size,
            next: 0,
            seen: VecDeque::new(),
        }
    }

    /// The greatest number seen; 0 for none.
    pub fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether a number is new and not too old.
    pub fn is_fresh(&self, number: u64) -> bool {
        match self.next.checked_sub(1).and_then(|last| last.checked_sub(number)) {
            None => true,
            Some(age) => {
                age < self.size
                    && !usize::try_from(age)
                        .ok()
                        .and_then(|age| self.seen.get(age).copied())
                        .unwrap_or(false)
            }
        }
    }

    /// Takes note of a number that was authenticated.
    pub fn note(&mut self, number: u64) {
        if number == u64::MAX {
            return;
        }
        while self.next <= number {
            let ahead = number - self.next;
            if ahead >= self.size {
                // Nothing of what was seen stays within the window.
                let size = usize::try_from(self.size).unwrap_or(usize::MAX);
                self.seen = std::iter::repeat_n(false, size).collect();
                self.next = number;
            }
            self.seen.push_front(false);
            self.next += 1;
        }
        self.seen
            .truncate(usize::try_from(self.size).unwrap_or(usize::MAX));
        let age = usize::try_from(self.next - 1 - number).unwrap_or(usize::MAX);
        if let Some(seen) = self.seen.get_mut(age) {
            *seen = true;
        }
    }

    /// The newest 64 as a number, the newest the highest bit (`ipsec_sa_anti_replay_get_64b_window`).
    pub fn bits(&self) -> u64 {
        (0..64).fold(0, |bits, at| {
            // VPP counts what was before the first as seen.
            let seen = self.seen.get(at).copied().unwrap_or(true);
            bits | (u64::from(seen) << (63 - at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn each_number_is_taken_once_and_old_ones_never() {
        let mut window = Window::new(64);
        for number in [0, 3, 1] {
            assert!(window.is_fresh(number), "{number}");
            window.note(number);
            assert!(!window.is_fresh(number), "{number}");
        }
        assert!(window.is_fresh(2));
        window.note(70);
        // 70 - 64 = 6 is the first that is too old.
        assert!(!window.is_fresh(2) && !window.is_fresh(6) && window.is_fresh(7));
        window.note(1 << 40);
        assert!(!window.is_fresh(70) && window.is_fresh((1 << 40) - 63) && !window.is_fresh(1 << 40));
    }
}
