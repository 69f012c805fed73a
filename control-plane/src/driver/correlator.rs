//! Makes Events of notes, few enough to be read: what is told again is counted, what is told in many words is told once, what is told without end is not told.
//! Pure. Rules and numbers: upstream `client-go/tools/record`.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::names::ObjectKey;
use coracle_controllers::action::{Note, Severity, Target};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// So many Events about one object may follow each other at once.
const BURST: f64 = 25.0;
/// After that one may in so many seconds.
const REFILL: f64 = 300.0;
/// So many different messages for one reason are told apart.
const VARIETY: usize = 10;
/// Within this time.
const PERIOD: SignedDuration = SignedDuration::from_secs(600);
/// So much is remembered of each sort: beyond that the oldest half is forgotten, which costs an Event that could have been a count.
const MEMORY: usize = 4096;
/// The longest name that leaves room for what makes it unique.
const NAME_LIMIT: usize = 253 - 17;

/// What is to be done about a note.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    /// A new Event.
    Create(Value),
    /// One more of what was told before. The Event as a whole comes with it, for where the former is gone.
    Count {
        /// The former Event.
        key: ObjectKey,
        /// A merge patch.
        patch: Value,
        /// The Event.
        whole: Value,
    },
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Correlator {
    buckets: BTreeMap<Teller, Bucket>,
    similar: BTreeMap<Subject, Similar>,
    told: BTreeMap<(Subject, String), Told>,
    /// Makes names differ that are made at the same time.
    made: u64,
}

type Teller = (&'static str, String);
/// Controller, object, reason, and whether it is a warning.
type Subject = (&'static str, String, String, bool);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    at: Timestamp,
}

#[derive(Debug)]
struct Told {
    name: String,
    count: u32,
    first: Timestamp,
    at: Timestamp,
}

impl Correlator {
    /// What to do about a note; `None` when too much has been told of the object.
    pub fn correlate(
        &mut self,
        controller: &'static str,
        note: &Note,
        now: Timestamp,
    ) -> Option<Doing> {
        let subject = (
            controller,
            identity(&note.about),
            note.reason.to_string(),
            note.severity == Severity::Warning,
        );
        let (key, message) = self.aggregate(&subject, &note.message, now);
        if !self.allows((controller, identity(&note.about)), now) {
            return None;
        }
        let entry = (subject, key);
        if let Some(told) = self.told.get_mut(&entry) {
            told.count = told.count.saturating_add(1);
            told.at = now;
            let whole = event(controller, note, &message, told);
            let key = ObjectKey::namespaced(namespace(&note.about), &told.name);
            let patch = json!({"count": told.count, "lastTimestamp": now, "message": message});
            return Some(Doing::Count { key, patch, whole });
        }
        forget(&mut self.told, |told| told.at);
        let told = Told {
            name: self.name(&note.about, now),
            count: 1,
            first: now,
            at: now,
        };
        let whole = event(controller, note, &message, &told);
        self.told.insert(entry, told);
        Some(Doing::Create(whole))
    }

    /// By what a message is known, and what is told instead of it.
    fn aggregate(&mut self, subject: &Subject, message: &str, now: Timestamp) -> (String, String) {
        forget(&mut self.similar, |similar| similar.at);
        let similar = self.similar.entry(subject.clone()).or_insert(Similar {
            messages: BTreeSet::new(),
            at: now,
        });
        if now.duration_since(similar.at) > PERIOD {
            similar.messages.clear();
        }
        similar.at = now;
        if similar.messages.len() < VARIETY || similar.messages.contains(message) {
            similar.messages.insert(message.to_owned());
        }
        if similar.messages.len() < VARIETY {
            return (message.to_owned(), message.to_owned());
        }
        let combined = format!("(combined from similar events): {message}");
        (String::new(), combined)
    }

    /// Whether one more Event about an object is bearable.
    fn allows(&mut self, teller: Teller, now: Timestamp) -> bool {
        forget(&mut self.buckets, |bucket| bucket.at);
        let bucket = self.buckets.entry(teller).or_insert(Bucket {
            tokens: BURST,
            at: now,
        });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / REFILL).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// A name for a new Event.
    fn name(&mut self, about: &Target, now: Timestamp) -> String {
        self.made = self.made.wrapping_add(1);
        let base: String = about.key.name.chars().take(NAME_LIMIT).collect();
        let nanos = u64::try_from(now.as_nanosecond()).unwrap_or(0);
        format!("{base}.{:016x}", nanos.wrapping_add(self.made))
    }
}

/// Forgets the older half of what there is too much of.
fn forget<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, at: impl Fn(&V) -> Timestamp) {
    if map.len() < MEMORY {
        return;
    }
    let mut times: Vec<Timestamp> = map.values().map(&at).collect();
    times.sort_unstable();
    if let Some(middle) = times.get(times.len() / 2) {
        map.retain(|_, value| at(value) > *middle);
    }
}

fn identity(about: &Target) -> String {
    format!("{}/{}/{}", about.kind.kind, about.key, about.uid)
}

/// Events about what is in no namespace are in `default`.
fn namespace(about: &Target) -> &str {
    about.key.namespace.as_deref().unwrap_or("default")
}

fn event(controller: &str, note: &Note, message: &str, told: &Told) -> Value {
    let about = &note.about;
    let severity = match note.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    let mut involved = json!({
        "apiVersion": about.kind.api_version(), "kind": about.kind.kind, "name": about.key.name, "uid": about.uid,
    });
    if let (Some(involved), Some(namespace)) = (involved.as_object_mut(), &about.key.namespace) {
        involved.insert("namespace".to_owned(), json!(namespace));
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": told.name, "namespace": namespace(about)},
        "involvedObject": involved,
        "type": severity, "reason": note.reason, "message": message,
        "source": {"component": controller},
        "reportingComponent": controller, "reportingInstance": "",
        "firstTimestamp": told.first, "lastTimestamp": told.at, "count": told.count,
    })
}

#[cfg(test)]
mod tests {
    use coracle_controllers::kind::Kind;

    use super::*;

    const NAME: &str = "replicaset-controller";

    fn note(name: &str, message: &str) -> Note {
        let about = Target {
            kind: Kind::REPLICA_SET,
            key: ObjectKey::namespaced("d", name),
            uid: format!("uid-{name}"),
        };
        about.note(Severity::Normal, "SuccessfulCreate", message.to_owned())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn what_is_told_again_is_counted() {
        let mut correlator = Correlator::default();
        let Some(Doing::Create(event)) = correlator.correlate(NAME, &note("a", "m"), at(0)) else {
            panic!("not created")
        };
        assert_eq!(event["involvedObject"]["uid"], "uid-a");
        assert_eq!(event["metadata"]["namespace"], "d");
        assert_eq!(event["type"], "Normal");
        assert_eq!(event["count"], 1);
        let Some(Doing::Count { key, patch, whole }) =
            correlator.correlate(NAME, &note("a", "m"), at(5))
        else {
            panic!("not counted")
        };
        assert_eq!(Some(key.name.as_str()), event["metadata"]["name"].as_str());
        assert_eq!(patch["count"], 2);
        assert_eq!(whole["firstTimestamp"], event["firstTimestamp"]);
        assert_ne!(whole["lastTimestamp"], event["lastTimestamp"]);
        for other in [note("a", "n"), note("b", "m")] {
            let doing = correlator.correlate(NAME, &other, at(5));
            assert!(matches!(doing, Some(Doing::Create(_))), "{other:?}");
        }
    }

    #[test]
    fn many_words_for_one_thing_become_one_event() {
        let mut correlator = Correlator::default();
        let mut created = 0;
        let mut last = None;
        for n in 0..20 {
            let doing = correlator.correlate(NAME, &note("a", &format!("m{n}")), at(n));
            created += usize::from(matches!(doing, Some(Doing::Create(_))));
            last = doing;
        }
        assert_eq!(created, VARIETY);
        let Some(Doing::Count { whole, .. }) = last else {
            panic!("not counted: {last:?}")
        };
        assert_eq!(whole["message"], "(combined from similar events): m19");
        assert_eq!(whole["count"], 11);
        let later = correlator.correlate(NAME, &note("a", "m"), at(1000));
        assert!(matches!(later, Some(Doing::Create(_))));
    }

    #[test]
    fn what_is_told_without_end_is_not_told() {
        let mut correlator = Correlator::default();
        let mut count = |name: &str, second| {
            let told = (0..100).filter(|_| {
                let doing = correlator.correlate(NAME, &note(name, "m"), at(second));
                doing.is_some()
            });
            told.count()
        };
        assert_eq!(count("a", 0), 25);
        assert_eq!(count("b", 0), 25);
        assert_eq!(count("a", 299), 0);
        assert_eq!(count("a", 601), 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for n in 0..3 * MEMORY {
            let n_ = i64::try_from(n).unwrap();
            correlator.correlate(NAME, &note(&format!("o{n}"), "m"), at(n_));
        }
        assert!(correlator.told.len() <= MEMORY);
        assert!(correlator.similar.len() <= MEMORY && correlator.buckets.len() <= MEMORY);
    }
}
