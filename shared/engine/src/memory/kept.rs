//! States and commits kept as they are, instead of encoded: for simulations of millions of appends, where JSON and
//! hashing it would take most of the time. What is stored then is a number that this thread knows the value of.

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_domain::target::Target;

use crate::codec::Commit;

/// The form of stored bytes that stand for a kept value.
pub(crate) const KEPT: u8 = b'k';

#[derive(Default)]
struct Kept {
    states: Vec<Arc<Target>>,
    commits: Vec<Arc<Commit>>,
}

thread_local! {
    static VALUES: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// While it lives, what this thread encodes is kept; bytes stored meanwhile can be read by this thread until it ends.
#[must_use]
pub struct Keeping(());

impl Keeping {
    /// Begins keeping on this thread.
    pub fn begin() -> Self {
        VALUES.with(|values| *values.borrow_mut() = Some(Kept::default()));
        Self(())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        VALUES.with(|values| *values.borrow_mut() = None);
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    let (form, rest) = bytes.split_first()?;
    let number = u64::from_be_bytes(rest.try_into().ok()?);
    (*form == KEPT).then(|| usize::try_from(number).ok())?
}

fn bytes(number: usize) -> Vec<u8> {
    let mut bytes = vec![KEPT];
    bytes.extend((number as u64).to_be_bytes());
    bytes
}

/// Keeps a state, if this thread keeps.
pub(crate) fn keep_state(state: &Arc<Target>) -> Option<Vec<u8>> {
    VALUES.with(|values| {
        let mut values = values.borrow_mut();
        let states = &mut values.as_mut()?.states;
        states.push(state.clone());
        Some(bytes(states.len() - 1))
    })
}

/// The state that these bytes stand for.
pub(crate) fn state(bytes: &[u8]) -> Option<Arc<Target>> {
    let number = number(bytes)?;
    VALUES.with(|values| values.borrow().as_ref()?.states.get(number).cloned())
}

/// Keeps a commit, if this thread keeps.
pub(crate) fn keep_commit(commit: &Commit) -> Option<Vec<u8>> {
    VALUES.with(|values| {
        let mut values = values.borrow_mut();
        let commits = &mut values.as_mut()?.commits;
        commits.push(Arc::new(commit.clone()));
        Some(bytes(commits.len() - 1))
    })
}

/// The commit that these bytes stand for.
pub fn commit(bytes: &[u8]) -> Option<Arc<Commit>> {
    let number = number(bytes)?;
    VALUES.with(|values| values.borrow().as_ref()?.commits.get(number).cloned())
}

#[cfg(test)]
mod tests {
    use portcullis_domain::names::Seq;

    use super::*;
    use crate::codec;

    #[test]
    fn what_is_kept_reads_back_until_keeping_ends() {
        let state = Arc::new(Target { seq: Seq(7), ..Target::default() });
        let keeping = Keeping::begin();
        let stored = codec::encode_shared(&state).unwrap();
        assert_eq!((stored.len(), codec::decode_head(&stored).unwrap()), (9, (*state).clone()));
        drop(keeping);
        assert!(codec::decode_head(&stored).is_err(), "its number says nothing any more");
        assert_eq!(codec::decode_head(&codec::encode_shared(&state).unwrap()).unwrap(), *state);
    }
}
