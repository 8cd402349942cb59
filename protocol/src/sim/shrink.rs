//! Fewer steps that still fail: delta debugging (Zeller, Hildebrandt 2002) over a schedule.

use alloc::vec::Vec;

use super::step::Step;

/// The fewest steps found of which `fails` still says so, asking it at most `tries` times.
pub fn shrink(
    steps: &[Step],
    mut tries: usize,
    mut fails: impl FnMut(&[Step]) -> bool,
) -> Vec<Step> {
    let mut least = Vec::from(steps);
    let mut part = least.len().div_ceil(2);
    while part > 0 && tries > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < least.len() && tries > 0 {
            let mut rest = least.clone();
            rest.drain(from..(from + part).min(least.len()));
            tries -= 1;
            if fails(&rest) {
                least = rest;
                shorter = true;
            } else {
                from += part;
            }
        }
        if !(shorter && part == 1) {
            part /= 2;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_steps_that_matter_are_left() {
        let steps: Vec<Step> = (0..100).map(|by| Step::Say { by }).collect();
        let needed = [Step::Say { by: 7 }, Step::Say { by: 63 }];
        let least = shrink(&steps, 1000, |some| needed.iter().all(|step| some.contains(step)));
        assert_eq!(least, needed);
    }
}
