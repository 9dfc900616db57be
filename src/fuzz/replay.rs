//! The corpus on stable Rust, and mutations of it: the promises hold for these too.

use std::fs;
use std::path::Path;
use std::thread;

use crate::chance::Chance;

const MUTATIONS: usize = 5000;
/// Where readers of numbers and texts go wrong.
const TOKENS: [&[u8]; 16] = [
    b"0",
    b"-1",
    b"1e308",
    b"1e-400",
    b"0.1",
    b"18446744073709551616",
    b"2147483648",
    b"16777217",
    b"null",
    b"true",
    b"\"",
    b"{",
    b"[",
    b"\\u0000",
    b"\xff",
    b"\n\n",
];

/// A test for each target, so that they run side by side.
macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), super::$target);
            }
        )*
    };
}

replays! { catalog config journal mavlink query request signature topic }

/// Says whether the bytes were accepted.
type Target = fn(&[u8]) -> bool;

fn replay(name: &str, target: Target) {
    let seeds = seeds(name);
    let accepted: Vec<&Vec<u8>> = seeds.iter().filter(|seed| run(target, seed)).collect();
    // Where all is refused nothing is tested.
    assert!(accepted.len() >= 3, "of {} seeds {} were accepted", seeds.len(), accepted.len());
    let mut chance = Chance(0);
    for _ in 0..MUTATIONS {
        // What is nearly right gets furthest.
        let mut bytes = match chance.index(4) {
            0 => chance.one_of(&seeds).clone(),
            _ => (*chance.one_of(&accepted)).clone(),
        };
        for _ in 0..=chance.index(3) {
            mutate(&mut bytes, &seeds, &mut chance);
        }
        run(target, &bytes);
    }
}

/// In order of name, so that the mutations are always the same.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run(target: Target, bytes: &[u8]) -> bool {
    /// Tells what the target was given when it panics.
    struct Given<'a>(&'a [u8]);

    impl Drop for Given<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("given: b\"{}\"", self.0.escape_ascii());
            }
        }
    }

    let given = Given(bytes);
    target(given.0)
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.index(bytes.len() + 1);
    let end = at + chance.index((bytes.len() - at).min(32) + 1);
    match chance.below(8) {
        0 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
        1 => bytes[at..end].iter_mut().take(2).for_each(|byte| *byte = chance.next() as u8),
        2 => drop(bytes.drain(at..end)),
        3 => drop(bytes.splice(at..end, chance.one_of(&TOKENS).iter().copied())),
        4 | 5 => {
            // A number as a whole: what is around it stays valid.
            let is_digit = |byte: &u8| byte.is_ascii_digit();
            let Some(start) = bytes[at..].iter().position(is_digit) else { return };
            let digits = bytes[at + start..].iter().take_while(|byte| is_digit(byte)).count();
            let number = at + start..at + start + digits;
            drop(bytes.splice(number, chance.one_of(&TOKENS).iter().copied()));
        }
        6 => {
            let copied = bytes[at..end].to_vec();
            let to = chance.index(bytes.len() + 1);
            bytes.splice(to..to, copied);
        }
        _ => {
            let other = chance.one_of(seeds);
            bytes.truncate(at);
            bytes.extend(&other[chance.index(other.len() + 1)..]);
        }
    }
}
