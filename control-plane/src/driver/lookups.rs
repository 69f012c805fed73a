//! Asks the API server itself what caches cannot tell: whether an object exists that no watch shows, and what is left in a namespace.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::names::ObjectKey;
use coracle_apiserver::ambient::Ambient;
use coracle_controllers::{
    action::Lookup,
    caches::{Content, Remains},
    kind::Kind,
};
use serde_json::value::RawValue;

use super::{
    calls::{Answer, Calls},
    refusal::Refusal,
    world::World,
};

/// So many absent objects are remembered. Forgetting them costs a question each.
const ABSENT_LIMIT: usize = 10_000;

/// What asks.
#[derive(Clone)]
pub struct Lookups {
    /// To whom it talks.
    pub calls: Calls,
    /// Where the answers go.
    pub world: Arc<World>,
    /// The time.
    pub ambient: Arc<dyn Ambient>,
}

/// Whether asking was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Something is known now that was not: planning again makes sense.
    Something,
    /// All is as it was.
    Nothing,
}

impl Lookups {
    /// Asks, and puts the answer where planners see it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn look(&self, lookup: &Lookup) -> Result<Learnt, Refusal> {
        match lookup {
            Lookup::Exists {
                api_version,
                kind,
                key,
                uid,
            } => {
                let served = self.world.served();
                match served.resolve(api_version, kind) {
                    Some(kind) => self.exists(kind, key, uid.as_deref()).await,
                    // A kind that is not served may be again: not knowing it is no reason to take its objects for gone.
                    None => Ok(Learnt::Nothing),
                }
            }
            Lookup::Content { namespace } => self.content(namespace).await,
        }
    }

    async fn exists(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        uid: Option<&str>,
    ) -> Result<Learnt, Refusal> {
        if kind.namespaced && key.namespace.is_none() {
            // What is in no namespace cannot be owned by what is in one: nobody can say which.
            return Ok(Learnt::Nothing);
        }
        let found = match self.calls.get(kind, key).await {
            Ok(found) => Some(found.metadata.uid),
            Err(Refusal::Gone(_)) => None,
            Err(refusal) => return Err(refusal),
        };
        match (found, uid) {
            (Some(found), Some(uid)) if found == uid => Ok(Learnt::Nothing),
            (_, Some(uid)) => {
                self.world.learn(|caches| caches.graph.learn_gone(uid));
                Ok(Learnt::Something)
            }
            (Some(_), None) => Ok(Learnt::Nothing),
            (None, None) => {
                let key = ObjectKey {
                    namespace: key.namespace.clone().filter(|_| kind.namespaced),
                    name: key.name.clone(),
                };
                self.world.learn(|caches| {
                    if caches.absent.len() >= ABSENT_LIMIT {
                        caches.absent.clear();
                    }
                    caches.absent.insert((kind.kind.to_string(), key));
                    Vec::new()
                });
                Ok(Learnt::Something)
            }
        }
    }

    async fn content(&self, namespace: &str) -> Result<Learnt, Refusal> {
        let key = ObjectKey::cluster(namespace);
        let uid = match self.calls.get(&Kind::NAMESPACE, &key).await {
            Ok(found) => found.metadata.uid,
            Err(Refusal::Gone(_)) => return Ok(Learnt::Nothing),
            Err(refusal) => return Err(refusal),
        };
        // As of before the questions: what is answered is no older.
        let at = self.ambient.now();
        let mut left = BTreeMap::new();
        let mut failures = Vec::new();
        let served = self.world.served();
        for kind in served.contents() {
            match self.remains(kind, namespace).await {
                Ok(None) => {}
                Ok(Some(remains)) => {
                    left.insert(format!("{}.{}", kind.plural, kind.group), remains);
                }
                // No longer served: then there is nothing of it.
                Err(Refusal::Gone(_)) => {}
                Err(refusal) => failures.push(refusal.told()),
            }
        }
        let content = Content {
            uid,
            at,
            left,
            failures,
        };
        self.world.learn(|caches| {
            // What is gone meanwhile is not remembered: nobody would forget it.
            if caches
                .namespaces
                .get(&ObjectKey::cluster(namespace))
                .is_some()
            {
                caches.contents.insert(namespace.to_owned(), content);
            }
            Vec::new()
        });
        Ok(Learnt::Something)
    }

    /// What is left of a kind in a namespace; `None` when nothing is.
    async fn remains(&self, kind: &Arc<Kind>, namespace: &str) -> Result<Option<Remains>, Refusal> {
        let mut remains = Remains {
            kind: (**kind).clone(),
            count: 0,
            untouched: 0,
            finalizers: BTreeMap::new(),
        };
        let mut continuation = String::new();
        loop {
            let page = self.calls.list(kind, Some(namespace), false, &continuation);
            let page = page.await?;
            for object in &page.items {
                tally(object, &mut remains)?;
            }
            continuation = page.metadata.continuation;
            if continuation.is_empty() {
                break;
            }
        }
        Ok((remains.count > 0).then_some(remains))
    }
}

fn tally(object: &RawValue, remains: &mut Remains) -> Result<(), Refusal> {
    let object: Answer = serde_json::from_str(object.get()).map_err(Refusal::answer)?;
    remains.count += 1;
    remains.untouched += usize::from(object.metadata.deletion_timestamp.is_none());
    for finalizer in object.metadata.finalizers {
        *remains.finalizers.entry(finalizer).or_default() += 1;
    }
    Ok(())
}
