//! Carries plans out, and nothing else: every step with the preconditions it was planned with, in order, until one does not go as planned. What that means
//! for the key is said in the [`Outcome`].

use std::{collections::HashMap, sync::Arc};

use coracle_controllers::{
    action::{Action, Note, StatusPatch, Step, Target},
    controller::{Failure, Verb},
    kind::Kind,
};
use futures::future::join_all;
use serde_json::Value;

use super::{
    batches::batches,
    calls::{Answer, Calls},
    expectations::Expected,
    recorder::Recorder,
    refusal::Refusal,
    world::World,
};

/// What carries plans out for one controller.
#[derive(Clone)]
pub struct Executor {
    /// To whom it talks.
    pub calls: Calls,
    /// What the caches show.
    pub world: Arc<World>,
    /// Who hears the notes.
    pub recorder: Recorder,
    /// The controller's name.
    pub controller: &'static str,
}

/// How far a plan was carried out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the caches will show of it.
    pub expected: Vec<Expected>,
    /// The world was not as the plan saw it; what comes after that was not done.
    pub is_behind: bool,
    /// What went wrong; what comes after that was not done.
    pub failure: Option<Failure>,
}

/// What is known during one execution.
#[derive(Default)]
struct Course {
    /// The versions that objects were at when planned for, and are at by our own doing, by uid.
    versions: HashMap<String, (String, String)>,
    /// Owners that were asked for, by uid, and whether they may adopt.
    owners: HashMap<String, bool>,
}

/// What a step did.
enum Done {
    /// It changed an object.
    Written(Kind, Answer),
    /// An object is gone or going.
    Ended(String),
    /// Nothing is to be seen of it.
    Unseen,
    /// It could not be done because the world is not as it was seen.
    Behind,
}

impl Executor {
    /// Carries out the steps of a plan and then writes the status.
    pub async fn execute(&self, steps: &[Step], status: Option<StatusPatch>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut course = Course::default();
        for batch in batches(steps) {
            let batch = steps.get(batch).unwrap_or_default();
            self.batch(batch, &mut course, &mut outcome).await;
            if outcome.is_behind || outcome.failure.is_some() {
                break;
            }
        }
        if let Some(status) = status {
            let step = Step::from(Action::from(status));
            self.one(&step, &mut course, &mut outcome).await;
        }
        outcome
    }

    async fn batch(&self, batch: &[Step], course: &mut Course, outcome: &mut Outcome) {
        if let [step] = batch {
            self.one(step, course, outcome).await;
            return;
        }
        // Only creations and deletions come in batches, and they do not follow from each other.
        let mut calls = Vec::with_capacity(batch.len());
        for step in batch {
            let version = self.version(&step.action, course);
            calls.push(self.call(&step.action, version));
        }
        let answers = join_all(calls).await;
        for (step, answer) in batch.iter().zip(answers) {
            self.note(step, answer, outcome);
        }
    }

    async fn one(&self, step: &Step, course: &mut Course, outcome: &mut Outcome) {
        if let Action::Adopt { owner, .. } = &step.action {
            match self.may_adopt(owner, course).await {
                Ok(true) => {}
                Ok(false) => {
                    outcome.is_behind = true;
                    return;
                }
                Err(refusal) => {
                    self.note(step, Err(refusal), outcome);
                    return;
                }
            }
        }
        let version = self.version(&step.action, course);
        let answer = self.call(&step.action, version).await;
        if let Ok(Done::Written(_, answer)) = &answer
            && let Some(seen) = version_of(&step.action)
        {
            let versions = (seen.to_owned(), answer.metadata.resource_version.clone());
            course
                .versions
                .insert(answer.metadata.uid.clone(), versions);
        }
        self.note(step, answer, outcome);
    }

    /// The version an object has to be at: the one it was seen at, or the one that a former step of this plan has made of that.
    fn version<'a>(&self, action: &'a Action, course: &'a Course) -> Option<&'a str> {
        let seen = version_of(action)?;
        let target = target_of(action)?;
        match course.versions.get(&target.uid) {
            Some((from, to)) if from == seen => Some(to),
            _ => Some(seen),
        }
    }

    /// Does what a step says, with `version` as its precondition.
    async fn call(&self, action: &Action, version: Option<&str>) -> Result<Done, Refusal> {
        match action {
            Action::Create { kind, object } => self.create(kind, object).await,
            Action::Delete {
                target,
                propagation,
                grace,
                ..
            } => {
                let deleted = self.calls.delete(target, version, *propagation, *grace);
                match deleted.await {
                    // Or gone already, which is what was wanted.
                    Ok(_) | Err(Refusal::Gone(_)) => Ok(Done::Ended(target.uid.clone())),
                    // Only the uid was insisted on: another object has the name now.
                    Err(Refusal::Conflict(_)) if version.is_none() => {
                        Ok(Done::Ended(target.uid.clone()))
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Action::Patch {
                target,
                part,
                patch,
                ..
            } => {
                let version = version.unwrap_or_default();
                let answer = self.calls.patch(target, version, *part, patch).await?;
                Ok(Done::Written(target.kind.clone(), answer))
            }
            Action::Adopt { target, patch, .. } => {
                let version = version.unwrap_or_default();
                let part = coracle_controllers::action::Part::Main;
                let answer = self.calls.patch(target, version, part, patch).await?;
                Ok(Done::Written(target.kind.clone(), answer))
            }
            Action::DeleteAll { kind, namespace } => {
                self.calls.delete_all(kind, namespace).await?;
                Ok(Done::Unseen)
            }
        }
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Done, Refusal> {
        match self.calls.create(kind, object).await {
            Ok(answer) => Ok(Done::Written(kind.clone(), answer)),
            // Upstream too takes this for no failure: nothing is missing in a namespace that goes away.
            Err(Refusal::Forbidden(_)) if self.is_ending(object) => Ok(Done::Behind),
            Err(refusal) => Err(refusal),
        }
    }

    /// Whether the object's namespace is going away.
    fn is_ending(&self, object: &Value) -> bool {
        let namespace = object.pointer("/metadata/namespace");
        let key = namespace
            .and_then(Value::as_str)
            .map(coracle_api::names::ObjectKey::cluster);
        let caches = self.world.caches();
        let namespace = key.and_then(|key| caches.namespaces.get(&key));
        namespace.is_some_and(|one| one.metadata.deletion_timestamp.is_some())
    }

    /// Asks the API server itself whether an owner still is who it was and stays. Once per plan.
    async fn may_adopt(&self, owner: &Target, course: &mut Course) -> Result<bool, Refusal> {
        if let Some(known) = course.owners.get(&owner.uid) {
            return Ok(*known);
        }
        let may = match self.calls.get(&owner.kind, &owner.key).await {
            Ok(found) => {
                let meta = found.metadata;
                meta.uid == owner.uid && meta.deletion_timestamp.is_none()
            }
            Err(Refusal::Gone(_)) => false,
            Err(refusal) => return Err(refusal),
        };
        course.owners.insert(owner.uid.clone(), may);
        Ok(may)
    }

    /// Notes how a step went and tells who wants to hear.
    fn note(&self, step: &Step, answer: Result<Done, Refusal>, outcome: &mut Outcome) {
        match answer {
            Ok(done) => {
                match done {
                    Done::Written(kind, answer) => {
                        let revision = answer.revision();
                        outcome.expected.push(Expected::Revision(kind, revision));
                    }
                    Done::Ended(uid) => outcome.expected.push(Expected::Ending(uid)),
                    Done::Unseen => {}
                    Done::Behind => {
                        outcome.is_behind = true;
                        return;
                    }
                }
                if let Some(note) = &step.success {
                    self.recorder.tell(self.controller, note.clone());
                }
            }
            Err(refusal) if refusal.is_behind() => {
                tracing::debug!(controller = self.controller, error = %refusal, "the caches are behind");
                outcome.is_behind = true;
            }
            Err(refusal) => {
                let message = refusal.told();
                if let Some(note) = &step.failure {
                    let note = Note {
                        message: format!("{}: {message}", note.message),
                        ..note.clone()
                    };
                    self.recorder.tell(self.controller, note);
                }
                outcome.failure.get_or_insert(Failure {
                    verb: verb(&step.action),
                    kind: step.action.kind().clone(),
                    message,
                });
            }
        }
    }
}

fn verb(action: &Action) -> Verb {
    match action {
        Action::Create { .. } => Verb::Create,
        Action::Delete { .. } | Action::DeleteAll { .. } => Verb::Delete,
        Action::Patch { .. } | Action::Adopt { .. } => Verb::Patch,
    }
}

fn target_of(action: &Action) -> Option<&Target> {
    match action {
        Action::Delete { target, .. }
        | Action::Patch { target, .. }
        | Action::Adopt { target, .. } => Some(target),
        Action::Create { .. } | Action::DeleteAll { .. } => None,
    }
}

/// The version that the step's object was seen at.
fn version_of(action: &Action) -> Option<&str> {
    match action {
        Action::Delete { seen, .. } => seen.as_deref(),
        Action::Patch { seen, .. } | Action::Adopt { seen, .. } => Some(seen),
        Action::Create { .. } | Action::DeleteAll { .. } => None,
    }
}
