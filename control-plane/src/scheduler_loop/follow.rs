//! Watches that go on: over failures, with longer and longer pauses, and saying what vanished meanwhile.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::{
    Api,
    runtime::watcher::{self, Event, watcher},
};

/// The first pause after a watch failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A watch that goes on over failures, and says what vanished meanwhile.
pub(super) fn follow<K>(api: Api<K>) -> impl Stream<Item = Event<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let known: std::collections::HashMap<String, K> = std::collections::HashMap::new();
    let events = Box::pin(watcher(api, watcher::Config::default()));
    let state = (
        events,
        known,
        std::collections::HashSet::new(),
        Vec::new(),
        PAUSE.0,
    );
    futures::stream::unfold(
        state,
        |(mut events, mut known, mut listed, mut gone, mut pause)| async move {
            loop {
                if let Some(object) = gone.pop() {
                    return Some((Event::Delete(object), (events, known, listed, gone, pause)));
                }
                let event = match events.next().await? {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::warn!(%error, "the scheduler's watch failed, will try again");
                        tokio::time::sleep(pause).await;
                        pause = pause.saturating_mul(2).min(PAUSE.1);
                        continue;
                    }
                };
                pause = PAUSE.0;
                let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
                match &event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => {
                        listed.insert(uid(object));
                        known.insert(uid(object), object.clone());
                    }
                    Event::Apply(object) => drop(known.insert(uid(object), object.clone())),
                    Event::Delete(object) => drop(known.remove(&uid(object))),
                    Event::InitDone => {
                        let lost: Vec<String> = known
                            .keys()
                            .filter(|uid| !listed.contains(*uid))
                            .cloned()
                            .collect();
                        gone.extend(lost.iter().filter_map(|uid| known.remove(uid)));
                    }
                }
                return Some((event, (events, known, listed, gone, pause)));
            }
        },
    )
}
