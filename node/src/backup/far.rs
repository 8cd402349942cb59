//! How far a backup is.

use std::{cell::Cell, io, rc::Rc};

/// How much of something is done, in percent.
pub struct Far {
    whole: u64,
    told: Option<u8>,
}

impl Far {
    /// Nothing of so much.
    pub const fn new(whole: u64) -> Self {
        Self { whole, told: None }
    }

    /// Tells a percent that was not told before.
    pub fn is_at(&mut self, done: u64, told: &mut dyn FnMut(u8)) {
        let percent = done.saturating_mul(100).checked_div(self.whole).unwrap_or(100).min(100);
        let percent = u8::try_from(percent).unwrap_or(100);
        if self.told.is_none_or(|before| before < percent) {
            self.told = Some(percent);
            told(percent);
        }
    }
}

/// What is read, counted in bytes.
pub struct Read<R> {
    input: R,
    done: Rc<Cell<u64>>,
}

impl<R> Read<R> {
    /// It, and the count.
    pub fn new(input: R) -> (Self, Rc<Cell<u64>>) {
        let done = Rc::new(Cell::new(0));
        (Self { input, done: done.clone() }, done)
    }
}

impl<R: io::Read> io::Read for Read<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.done.set(self.done.get().saturating_add(read as u64));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_percent_is_told_once_and_none_beyond_the_whole() {
        let mut told = Vec::new();
        let mut far = Far::new(300);
        (0..=310).for_each(|done| far.is_at(done, &mut |percent| told.push(percent)));
        assert_eq!(told, (0..=100).collect::<Vec<u8>>());
        let mut of_nothing = Vec::new();
        Far::new(0).is_at(0, &mut |percent| of_nothing.push(percent));
        assert_eq!(of_nothing, [100]);
    }
}
