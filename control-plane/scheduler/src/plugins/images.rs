//! How much of a pod's images a node has already (upstream: `ImageLocality`). An image counts the less the fewer nodes have it, so that pods do not all go
//! where the first one went.

use super::BEST;
use crate::{
    request::Request,
    snapshot::{NodeState, Snapshot},
};

/// Less than this is pulled in no time. Upstream's.
const LEAST: i64 = 23 << 20;
/// More than this for each container makes no difference. Upstream's.
const MOST_EACH: i64 = 1000 << 20;

/// The images of one pod that any node has.
pub struct Images<'a> {
    /// Names, and how many nodes of all have them.
    names: Vec<(&'a str, usize)>,
    n_nodes: usize,
    n_containers: usize,
}

impl<'a> Images<'a> {
    /// Finds them.
    #[must_use]
    pub fn new(request: &'a Request, snapshot: &Snapshot) -> Self {
        let spec = request.pod.spec.as_ref();
        let main = spec.into_iter().flat_map(|spec| &spec.containers);
        let init = spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        let all: Vec<&str> = main
            .chain(init)
            .filter_map(|one| one.image.as_deref())
            .collect();
        Self {
            n_containers: all.len(),
            names: all
                .into_iter()
                .map(|name| (name, snapshot.n_with_image(name)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            n_nodes: snapshot.n_nodes(),
        }
    }

    /// How much of them a node has, 0 to [`BEST`].
    #[must_use]
    pub fn locality(&self, state: &NodeState) -> i64 {
        if self.names.is_empty() {
            return 0;
        }
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let share = |(name, n): &(&str, usize)| {
            let size = state.images.get(*name).copied().unwrap_or(0);
            let shared = size.saturating_mul(number(*n));
            shared.checked_div(number(self.n_nodes)).unwrap_or(0)
        };
        let sum: i64 = self.names.iter().map(share).fold(0, i64::saturating_add);
        let most = MOST_EACH
            .saturating_mul(number(self.n_containers))
            .max(LEAST + 1);
        (sum.clamp(LEAST, most) - LEAST).saturating_mul(BEST) / (most - LEAST)
    }
}
