//! One controller at work on a [`World`], as the driver runs it: its watches say which keys to plan for, plans are carried out step by step until one is
//! refused, lookups are answered, times are waited for. What the driver does at random (stopping in the middle, acting on old news) tests say.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::names::ObjectKey;
use jiff::Timestamp;

use super::{Refused, World};
use crate::{
    action::{Action, Plan, Requeue, Target},
    caches::{Applied, Caches},
    controller::{Controller, Failure, Seen, Verb},
    kind::Kind,
    memory::Memory,
};

/// A controller and what it is to look at.
pub struct Loop {
    /// The controller.
    pub controller: Box<dyn Controller>,
    /// The keys it is to plan for.
    pub queue: BTreeSet<ObjectKey>,
    /// The keys it ever heard of.
    pub known: BTreeSet<ObjectKey>,
    timers: BTreeMap<ObjectKey, Timestamp>,
    memory: BTreeMap<ObjectKey, Memory>,
    failures: BTreeMap<ObjectKey, Failure>,
}

/// How much of a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Much {
    /// All of it.
    All,
    /// So many steps, and then the driver ends.
    Steps(usize),
}

impl Loop {
    /// A controller that has seen nothing yet.
    pub fn new(controller: Box<dyn Controller>) -> Self {
        Self {
            controller,
            queue: BTreeSet::new(),
            known: BTreeSet::new(),
            timers: BTreeMap::new(),
            memory: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Hears of a change.
    pub fn hear(&mut self, kind: &Kind, applied: &Applied, caches: &Caches) {
        for watch in self.controller.watches() {
            if watch.covers(kind) {
                let keys = (watch.keys)(&applied.change(caches));
                self.known.extend(keys.iter().cloned());
                self.queue.extend(keys);
            }
        }
    }

    /// What it would do about a key.
    pub fn plan(&self, key: &ObjectKey, caches: &Caches, now: Timestamp) -> Option<Plan> {
        let memory = self.memory.get(key).cloned().unwrap_or_default();
        let seen = Seen {
            caches,
            now,
            memory: &memory,
            failure: self.failures.get(key),
        };
        self.controller.plan(key, &seen)
    }

    /// Carries a plan out. `each` is called after every step that changed something.
    pub fn carry_out(
        &mut self,
        key: &ObjectKey,
        plan: Option<Plan>,
        much: Much,
        world: &mut World,
        each: &mut dyn FnMut(&Action, &World),
    ) {
        self.timers.remove(key);
        let Some(plan) = plan else {
            self.memory.remove(key);
            self.failures.remove(key);
            return;
        };
        if let Some(memory) = plan.memory {
            self.memory.insert(key.clone(), memory);
        }
        let status = plan.status.map(Action::from);
        let steps: Vec<Action> = plan.actions.into_iter().map(|step| step.action).collect();
        let n_steps = steps.len();
        let mut versions: BTreeMap<String, (String, String)> = BTreeMap::new();
        let mut stopped = false;
        self.failures.remove(key);
        for (at, action) in steps.iter().chain(&status).enumerate() {
            if much == Much::Steps(at) {
                self.queue.insert(key.clone());
                return;
            }
            // A status is written even when a step before it was refused.
            if stopped && at < n_steps {
                continue;
            }
            let known = seen_of(action).and_then(|(target, seen)| {
                let (from, to) = versions.get(&target.uid)?;
                (*from == seen).then(|| to.clone())
            });
            let seen = known.or_else(|| seen_of(action).map(|(_, seen)| seen));
            match world.apply(action, seen.as_deref()) {
                Ok(version) => {
                    if let (Some(version), Some((target, seen))) = (version, seen_of(action)) {
                        versions.insert(target.uid.clone(), (seen, version));
                    }
                    each(action, world);
                }
                Err(Refused::Behind) => stopped = true,
                Err(Refused::Forbidden) => {
                    stopped = true;
                    let failure = Failure {
                        verb: Verb::Create,
                        kind: action.kind().clone(),
                        message: "forbidden".to_owned(),
                    };
                    self.failures.insert(key.clone(), failure);
                }
            }
        }
        if stopped {
            self.queue.insert(key.clone());
            return;
        }
        let mut is_news = false;
        for lookup in &plan.lookups {
            is_news |= world.answer(lookup);
        }
        if is_news {
            self.queue.insert(key.clone());
        }
        if let Requeue::At(at) = plan.requeue {
            self.timers.insert(key.clone(), at);
        }
    }

    /// Plans for the next key, carries that out and hears what has changed; says whether there was one.
    pub fn step(&mut self, world: &mut World, each: &mut dyn FnMut(&Action, &World)) -> bool {
        self.listen(world);
        let Some(key) = self.queue.pop_first() else {
            return false;
        };
        let plan = self.plan(&key, &world.caches, world.now);
        self.carry_out(&key, plan, Much::All, world, each);
        true
    }

    /// Hears what has changed in the world, alone.
    pub fn listen(&mut self, world: &mut World) {
        for (kind, applied) in world.take_changes() {
            self.hear(&kind, &applied, &world.caches);
        }
        let due: Vec<ObjectKey> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= world.now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.timers.remove(&key);
            self.queue.insert(key);
        }
    }

    /// When it wants to look again.
    pub fn next_time(&self) -> Option<Timestamp> {
        self.timers.values().min().copied()
    }
}

/// What an action's object is, and at which version it must be.
fn seen_of(action: &Action) -> Option<(&Target, String)> {
    match action {
        Action::Delete {
            target,
            seen: Some(seen),
            ..
        }
        | Action::Patch { target, seen, .. }
        | Action::Adopt { target, seen, .. } => Some((target, seen.clone())),
        Action::Delete { .. } | Action::Create { .. } | Action::DeleteAll { .. } => None,
    }
}

/// Several controllers hear what has changed.
pub fn listen_all(loops: &mut [Loop], world: &mut World) {
    let changes = world.take_changes();
    for one in loops {
        for (kind, applied) in &changes {
            one.hear(kind, applied, &world.caches);
        }
        // What was heard is taken; what is due is left.
        one.listen(world);
    }
}
