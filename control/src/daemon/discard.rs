//! What a hundred thousand hosts or rules were takes a while to be dropped.

/// Drops it in a thread of its own, so that nobody waits for that. Without a thread it is dropped here.
pub(super) fn discard(discarded: impl Send + 'static) {
    let _ = std::thread::Builder::new().name("discard".to_owned()).spawn(move || drop(discarded));
}
