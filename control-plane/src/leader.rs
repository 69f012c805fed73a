//! Who decides: of several control planes on one store, the holder of a Lease runs controllers and scheduler. The Lease makes that one; what makes it
//! safe is that every write has a precondition, so a holder that has lost it without knowing can move nothing backwards.
//!
//! When a Lease has run out is judged by our own clock, from when we last saw it change: clocks of different machines are never compared.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Where the Lease is.
pub const NAMESPACE: &str = "kube-system";
/// What it is called.
pub const NAME: &str = "coracle-control-plane";

/// How long a Lease holds, in seconds. After a kill the others wait for so long, and for one look more: together less than three seconds.
const DURATION: i32 = 2;
/// How often it is renewed, and looked at by those who wait.
const PERIOD: Duration = Duration::from_millis(300);
/// A holder that could not renew for so long stops deciding, well before the others may begin.
const RENEW_WITHIN: Duration = Duration::from_millis(1400);

/// What to do about the Lease.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// There is none: make it.
    Create,
    /// It is ours: say that we are still here.
    Renew,
    /// It is free or has run out: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// Decides, given that the Lease has not changed for so long.
fn decide(me: &str, lease: Option<&Lease>, unchanged: Duration) -> Move {
    let Some(lease) = lease else {
        return Move::Create;
    };
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    let holds = spec.and_then(|spec| spec.lease_duration_seconds);
    let holds = Duration::from_secs(u64::try_from(holds.unwrap_or(DURATION)).unwrap_or(0));
    match holder {
        None | Some("") => Move::Take,
        Some(holder) if holder == me => Move::Renew,
        Some(_) if unchanged >= holds => Move::Take,
        Some(_) => Move::Wait,
    }
}

/// The Lease as `me` would hold it after `lease`.
fn held(me: &str, lease: Option<Lease>, now: Timestamp) -> Lease {
    let before = lease.as_ref().and_then(|lease| lease.spec.clone());
    let before = before.unwrap_or_default();
    let ours = before.holder_identity.as_deref() == Some(me);
    let changes = before.lease_transitions.unwrap_or(0);
    let metadata = lease.map_or_else(
        || ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        |lease| lease.metadata,
    );
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: Some(DURATION),
            acquire_time: before
                .acquire_time
                .filter(|_| ours)
                .or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if ours {
                changes
            } else {
                changes.saturating_add(1)
            }),
            ..before
        }),
    }
}

/// A candidate.
pub struct Election {
    leases: Api<Lease>,
    me: String,
    /// The Lease's resourceVersion when we last looked, and when we first saw that one.
    seen: Option<(Option<String>, Instant)>,
}

impl Election {
    /// A candidate of this name, which no other has.
    #[must_use]
    pub fn new(client: kube::Client, me: String) -> Self {
        Self {
            leases: Api::namespaced(client, NAMESPACE),
            me,
            seen: None,
        }
    }

    /// Stands for election until `shutdown`. While the Lease is held, what `begin` gives runs; it must end soon after its token is cancelled, and is
    /// waited for before the Lease is given back.
    pub async fn run<R>(
        mut self,
        shutdown: CancellationToken,
        mut begin: impl FnMut(CancellationToken) -> R,
    ) where
        R: Future<Output = ()>,
    {
        while !shutdown.is_cancelled() {
            if self.try_hold().await {
                tracing::info!(me = self.me, "this control plane decides now");
                let term = CancellationToken::new();
                let work = begin(term.clone());
                self.hold(&shutdown, term, work).await;
                if shutdown.is_cancelled() {
                    self.give_back().await;
                } else {
                    tracing::warn!(
                        me = self.me,
                        "this control plane lost the Lease and decides no more"
                    );
                }
            }
            tokio::select! {
                () = sleep(PERIOD) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Renews while the work runs; ends the work when that fails for too long, or on `shutdown`.
    async fn hold(
        &mut self,
        shutdown: &CancellationToken,
        term: CancellationToken,
        work: impl Future<Output = ()>,
    ) {
        let mut work = std::pin::pin!(work);
        let renewing = async {
            let mut until = Instant::now() + RENEW_WITHIN;
            loop {
                tokio::select! {
                    () = sleep(PERIOD) => {}
                    () = shutdown.cancelled() => return,
                }
                let asked = Instant::now();
                match timeout_at(until, self.try_hold()).await {
                    Ok(true) => until = asked + RENEW_WITHIN,
                    Ok(false) if asked < until => {}
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = renewing => {}
            () = &mut work => return,
        }
        term.cancel();
        work.await;
    }

    /// Whether the Lease is ours now, after one attempt.
    async fn try_hold(&mut self) -> bool {
        match self.attempt().await {
            Ok(held) => held,
            // Somebody was quicker, and the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => false,
            Err(error) => {
                tracing::warn!(%error, "asking for the Lease of the control plane");
                false
            }
        }
    }

    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(NAME).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let next = decide(&self.me, lease.as_ref(), now - since);
        let written = match next {
            Move::Wait => return Ok(false),
            Move::Create => {
                let lease = held(&self.me, lease, Timestamp::now());
                self.leases.create(&PostParams::default(), &lease).await?
            }
            // The resourceVersion goes along: whoever writes between wins.
            Move::Renew | Move::Take => {
                let lease = held(&self.me, lease, Timestamp::now());
                self.leases
                    .replace(NAME, &PostParams::default(), &lease)
                    .await?
            }
        };
        self.seen = Some((written.metadata.resource_version, Instant::now()));
        Ok(true)
    }

    /// Frees the Lease, so that the next one need not wait for its end.
    async fn give_back(&self) {
        let freed = async {
            let Some(mut lease) = self.leases.get_opt(NAME).await? else {
                return Ok(());
            };
            let Some(spec) = lease
                .spec
                .as_mut()
                .filter(|spec| spec.holder_identity.as_deref() == Some(&self.me))
            else {
                return Ok(());
            };
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.leases
                .replace(NAME, &PostParams::default(), &lease)
                .await
                .map(drop)
        };
        if let Err(error) = freed.await {
            let error: kube::Error = error;
            tracing::warn!(%error, "the Lease is not given back: it runs out by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Lease {
        held(holder, None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_has_run_out() {
        let (short, long) = (Duration::from_millis(1900), Duration::from_secs(2));
        assert_eq!(decide("a", None, short), Move::Create);
        assert_eq!(decide("a", Some(&lease("a")), long), Move::Renew);
        assert_eq!(decide("a", Some(&lease("b")), short), Move::Wait);
        assert_eq!(decide("a", Some(&lease("b")), long), Move::Take);
        assert_eq!(decide("a", Some(&lease("")), Duration::ZERO), Move::Take);
    }

    #[test]
    fn holders_are_counted_and_keep_when_they_began() {
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(5);
        let renewed = held("a", Some(lease("a")), later).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(1));
        assert_eq!(renewed.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));
        let taken = held("b", Some(lease("a")), later).spec.unwrap();
        assert_eq!(taken.lease_transitions, Some(2));
        assert_eq!(taken.acquire_time, Some(MicroTime(later)));
    }

    #[test]
    fn a_holder_stops_before_others_begin() {
        assert!(RENEW_WITHIN + PERIOD < Duration::from_secs(DURATION as u64));
        assert!(Duration::from_secs(DURATION as u64) + 2 * PERIOD < Duration::from_secs(3));
    }
}
