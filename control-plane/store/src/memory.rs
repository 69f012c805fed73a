//! The store in memory: the reference model of the conformance suite and the fixture of tests. Keeps nothing over a restart.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;

use crate::{
    error::StoreError,
    history::HistoryLimits,
    record::Record,
    revision::Revision,
    signal::Signals,
    state::State,
    storage::{BoxFuture, List, Page, Storage},
    txn::Op,
    watch::{Event, Source, Watch},
};

/// See the module.
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<State>,
    signals: Signals,
}

impl MemoryStorage {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(HistoryLimits::default())
    }

    /// An empty store that keeps so much history.
    #[must_use]
    pub fn with_history(limits: HistoryLimits) -> Self {
        Self::beginning_at(Revision(0), limits)
    }

    /// An empty store whose next revision is the one after `revision`.
    #[must_use]
    pub fn beginning_at(revision: Revision, limits: HistoryLimits) -> Self {
        let state = RwLock::new(State::new([], revision, limits));
        Self {
            shared: Arc::new(Shared {
                state,
                signals: Signals::default(),
            }),
        }
    }

    fn commit_now(&self, ops: &[Op]) -> Result<Revision, StoreError> {
        let mut state = self.shared.state.write();
        let revision = state.revision().next();
        let events = state.plan(&BTreeMap::new(), ops, revision)?;
        if events.is_empty() {
            return Ok(state.revision());
        }
        state.apply(&events);
        drop(state);
        self.shared.signals.announce(&events);
        Ok(revision)
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for Shared {
    fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), StoreError> {
        self.state.read().events_after(prefix, after, limit)
    }
}

impl Storage for MemoryStorage {
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { self.commit_now(&ops) })
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Arc<Record>>, StoreError>> {
        Box::pin(async move { Ok(self.shared.state.read().get(key).cloned()) })
    }

    fn list(&self, list: List) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move { self.shared.state.read().list(&list) })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        after: Revision,
    ) -> BoxFuture<'a, Result<Watch, StoreError>> {
        Box::pin(async move {
            let signal = self.shared.signals.subscribe(prefix);
            self.shared.state.read().check_watch(prefix, after)?;
            Ok(Watch::new(
                Arc::clone(&self.shared) as Arc<dyn Source>,
                signal,
                prefix.to_owned(),
                after,
            ))
        })
    }

    fn revision(&self) -> Revision {
        self.shared.state.read().revision()
    }

    fn compact(&self, to: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.state.write().compact(to);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Expect;

    #[tokio::test]
    async fn a_failed_expectation_changes_nothing() {
        let store = MemoryStorage::new();
        let first = store.commit(vec![Op::create("/a", "1")]).await.unwrap();
        let refused = store
            .commit(vec![Op::create("/b", "1"), Op::create("/a", "2")])
            .await;
        assert!(
            matches!(refused, Err(StoreError::Conflict { ref key, found: Some(_) }) if key == "/a")
        );
        assert!(store.get("/b").await.unwrap().is_none());
        assert_eq!(store.revision(), first);
    }

    #[tokio::test]
    async fn a_check_guards_without_changing() {
        let store = MemoryStorage::new();
        store.commit(vec![Op::create("/ns", "")]).await.unwrap();
        let revision = store
            .commit(vec![
                Op::check("/ns", Expect::Exists),
                Op::create("/ns/x", "1"),
            ])
            .await
            .unwrap();
        assert_eq!(
            store.get("/ns").await.unwrap().unwrap().modified,
            Revision(1)
        );
        assert_eq!(revision, Revision(2));
    }

    #[tokio::test]
    async fn lists_of_the_past_undo_what_came_after() {
        let store = MemoryStorage::new();
        store.commit(vec![Op::create("/p/a", "1")]).await.unwrap();
        let then = store.commit(vec![Op::create("/p/b", "1")]).await.unwrap();
        store
            .commit(vec![Op::update("/p/a", Revision(1), "2")])
            .await
            .unwrap();
        store
            .commit(vec![Op::delete("/p/b", then), Op::create("/p/c", "1")])
            .await
            .unwrap();
        let page = store
            .list(List {
                prefix: "/p/".into(),
                at: Some(then),
                ..List::default()
            })
            .await
            .unwrap();
        let seen: Vec<_> = page.records.iter().map(|r| (&*r.key, &*r.value)).collect();
        assert_eq!(seen, [("/p/a", &b"1"[..]), ("/p/b", &b"1"[..])]);
    }

    #[tokio::test]
    async fn pages_go_on_after_the_last_key() {
        let store = MemoryStorage::new();
        for key in ["/p/a", "/p/b", "/p/c", "/q"] {
            store.commit(vec![Op::create(key, "")]).await.unwrap();
        }
        let list = List {
            prefix: "/p/".into(),
            limit: Some(2),
            ..List::default()
        };
        let first = store.list(list.clone()).await.unwrap();
        assert_eq!((first.records.len(), first.remaining), (2, 1));
        let rest = store
            .list(List {
                after: Some("/p/b".into()),
                ..list
            })
            .await
            .unwrap();
        assert_eq!(
            (&*rest.records[0].key, rest.records.len(), rest.remaining),
            ("/p/c", 1, 0)
        );
    }

    #[tokio::test]
    async fn a_watch_sees_its_prefix_only_and_whole_transactions() {
        let store = MemoryStorage::new();
        store.commit(vec![Op::create("/p/a", "1")]).await.unwrap();
        let mut watch = store.watch("/p/", Revision(0)).await.unwrap();
        store.commit(vec![Op::create("/q/x", "1")]).await.unwrap();
        store
            .commit(vec![Op::create("/p/b", "1"), Op::create("/p/c", "1")])
            .await
            .unwrap();
        let keys: Vec<_> = watch
            .next()
            .await
            .unwrap()
            .iter()
            .map(|e| (e.revision.0, e.key().to_owned()))
            .collect();
        assert_eq!(
            keys,
            [(1, "/p/a".into()), (3, "/p/b".into()), (3, "/p/c".into())]
        );
        assert_eq!(watch.position(), Revision(3));
    }

    #[tokio::test]
    async fn a_watcher_behind_the_kept_history_is_told_so() {
        let store = MemoryStorage::with_history(HistoryLimits {
            events: 2,
            bytes: usize::MAX,
        });
        let mut watch = store.watch("/p/", Revision(0)).await.unwrap();
        for key in ["/p/a", "/p/b", "/p/c"] {
            store.commit(vec![Op::create(key, "")]).await.unwrap();
        }
        let told = watch.next().await;
        assert!(matches!(
            told,
            Err(StoreError::Compacted {
                oldest: Revision(1)
            })
        ));
    }
}
