//! Rows of the autoscaling group.

use k8s_openapi::api::autoscaling::v2;

use super::{Resource, Scope, row::stored};
use crate::{defaulting, table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        default: defaulting::autoscaler,
        validate: validate::autoscaler,
        ..stored::<v2::HorizontalPodAutoscaler>("horizontalpodautoscaler", Scope::Namespaced)
            .short(&["hpa"])
            .in_all()
            .with_status()
            .with_table(table::autoscaler::columns(), table::autoscaler::row)
    }]
}
