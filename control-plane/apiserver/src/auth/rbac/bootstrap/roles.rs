//! The rules of the roles every cluster begins with, as data. Names and reach are Kubernetes'; the kinds are those that exist here.

use crate::auth::{
    rbac::rule::Rule,
    user::{AUTHENTICATED, MASTERS, NODES},
};

/// A ClusterRole.
#[derive(Debug)]
pub struct BootstrapRole {
    /// Its name.
    pub name: &'static str,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A ClusterRoleBinding.
#[derive(Debug)]
pub struct BootstrapBinding {
    /// Its name.
    pub name: &'static str,
    /// The ClusterRole.
    pub role: &'static str,
    /// Kind and name of who gets it.
    pub subjects: &'static [(&'static str, &'static str)],
}

const CORE: &str = "";
const RBAC: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CREATE: &[&str] = &["create"];
const RECORD: &[&str] = &["create", "patch", "update"];

/// What users of a namespace see: all but Secrets, which would let them become service accounts, and roles.
const VIEWED: &[(&str, &[&str])] = &[
    (
        CORE,
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    (
        "autoscaling",
        &[
            "horizontalpodautoscalers",
            "horizontalpodautoscalers/status",
        ],
    ),
    (
        "batch",
        &["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("gateway.networking.k8s.io", &["gateways", "httproutes"]),
    ("metrics.k8s.io", &["pods"]),
    (
        "networking.k8s.io",
        &["ingresses", "ingresses/status", "networkpolicies"],
    ),
    (
        "policy",
        &["poddisruptionbudgets", "poddisruptionbudgets/status"],
    ),
];

/// What editors of a namespace change. Not its quota, its limits or its status fields.
const EDITED: &[(&str, &[&str])] = &[
    (
        CORE,
        &[
            "configmaps",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/ephemeralcontainers",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "pods/resize",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("coordination.k8s.io", &["leases"]),
    ("gateway.networking.k8s.io", &["gateways", "httproutes"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

fn each(kinds: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Rule> {
    kinds
        .iter()
        .map(|(group, resources)| Rule::resources(&[group], resources, verbs))
        .collect()
}

fn view() -> Vec<Rule> {
    each(VIEWED, READ)
}

fn edit() -> Vec<Rule> {
    let more = [
        Rule::resources(
            &[CORE],
            &[
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "secrets",
                "services/proxy",
            ],
            READ,
        ),
        Rule::resources(&["coordination.k8s.io"], &["leases"], READ),
        Rule::resources(&[CORE], &["serviceaccounts"], &["impersonate"]),
        Rule::resources(&[CORE], &["pods/eviction", "serviceaccounts/token"], CREATE),
        Rule::resources(&[CORE], &["events"], RECORD),
    ];
    [view(), each(EDITED, WRITE), more.to_vec()].concat()
}

fn admin() -> Vec<Rule> {
    let more = [
        Rule::resources(
            &["authorization.k8s.io"],
            &["localsubjectaccessreviews"],
            CREATE,
        ),
        Rule::resources(&[RBAC], &["rolebindings", "roles"], &[READ, WRITE].concat()),
    ];
    [edit(), more.to_vec()].concat()
}

fn scheduler() -> Vec<Rule> {
    vec![
        Rule::resources(&[CORE, "events.k8s.io"], &["events"], RECORD),
        Rule::resources(
            &["coordination.k8s.io"],
            &["leases"],
            &["create", "get", "list", "update", "watch"],
        ),
        Rule::resources(
            &[CORE],
            &[
                "namespaces",
                "nodes",
                "persistentvolumeclaims",
                "persistentvolumes",
                "replicationcontrollers",
                "services",
            ],
            READ,
        ),
        Rule::resources(&[CORE], &["pods"], &[READ, &["delete"]].concat()),
        Rule::resources(&[CORE], &["bindings", "pods/binding"], CREATE),
        Rule::resources(&[CORE], &["pods/status"], &["patch", "update"]),
        Rule::resources(&["apps"], &["replicasets", "statefulsets"], READ),
        Rule::resources(&["policy"], &["poddisruptionbudgets"], READ),
        Rule::resources(&["scheduling.k8s.io"], &["priorityclasses"], READ),
        Rule::resources(&["storage.k8s.io"], &["csinodes", "storageclasses"], READ),
    ]
}

/// The controllers run as one user. Garbage collection and the end of a namespace concern every kind there is, so reading and deleting do too; what
/// is created and changed is listed.
fn controller_manager() -> Vec<Rule> {
    let made = [
        (
            CORE,
            &[
                "endpoints",
                "events",
                "persistentvolumes",
                "pods",
                "serviceaccounts",
            ][..],
        ),
        ("apps", &["controllerrevisions", "replicasets"]),
        ("batch", &["jobs"]),
        ("coordination.k8s.io", &["leases"]),
        ("discovery.k8s.io", &["endpointslices"]),
        ("events.k8s.io", &["events"]),
    ];
    let own = [
        Rule::resources(
            &["*"],
            &["*"],
            &[READ, &["delete", "deletecollection", "patch", "update"]].concat(),
        ),
        Rule::resources(
            &["*"],
            &["*/status", "*/scale", "*/finalizers"],
            &["get", "patch", "update"],
        ),
        Rule::resources(&[CORE], &["namespaces/finalize"], &["update"]),
        Rule::resources(&[CORE], &["pods/eviction", "serviceaccounts/token"], CREATE),
        Rule::paths(&["*"], &["get"]),
    ];
    [own.to_vec(), each(&made, RECORD)].concat()
}

/// The roles.
#[must_use]
pub fn roles() -> Vec<BootstrapRole> {
    let role = |name, rules| BootstrapRole { name, rules };
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = [
        &health[..],
        &[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/openapi",
            "/openapi/*",
        ],
    ]
    .concat();
    let monitoring = [
        &health[..3],
        &[
            "/healthz/*",
            "/livez/*",
            "/metrics",
            "/metrics/*",
            "/readyz/*",
        ],
    ]
    .concat();
    vec![
        role("cluster-admin", Rule::everything().to_vec()),
        role("admin", admin()),
        role("edit", edit()),
        role("view", view()),
        role(
            "system:basic-user",
            vec![
                Rule::resources(
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    CREATE,
                ),
                Rule::resources(&["authentication.k8s.io"], &["selfsubjectreviews"], CREATE),
            ],
        ),
        role("system:discovery", vec![Rule::paths(&discovery, &["get"])]),
        role(
            "system:public-info-viewer",
            vec![Rule::paths(&health, &["get"])],
        ),
        role(
            "system:monitoring",
            vec![Rule::paths(&monitoring, &["get"])],
        ),
        role("system:kube-scheduler", scheduler()),
        role("system:kube-controller-manager", controller_manager()),
        role(
            "coracle:image-puller",
            vec![Rule::paths(&["/v2", "/v2/*"], &["get"])],
        ),
        role(
            "coracle:image-pusher",
            vec![Rule::paths(
                &["/v2", "/v2/*"],
                &["get", "patch", "post", "put"],
            )],
        ),
    ]
}

/// Who has them.
#[must_use]
pub fn bindings() -> Vec<BootstrapBinding> {
    let bound = |role, subjects| BootstrapBinding {
        name: role,
        role,
        subjects,
    };
    const EVERYBODY: &[(&str, &str)] = &[("Group", AUTHENTICATED)];
    vec![
        bound("cluster-admin", &[("Group", MASTERS)]),
        bound("system:basic-user", EVERYBODY),
        bound("system:discovery", EVERYBODY),
        bound("system:public-info-viewer", EVERYBODY),
        bound("system:monitoring", &[("Group", "system:monitoring")]),
        bound(
            "system:kube-scheduler",
            &[("User", "system:kube-scheduler")],
        ),
        bound(
            "system:kube-controller-manager",
            &[("User", "system:kube-controller-manager")],
        ),
        bound("coracle:image-puller", &[("Group", NODES)]),
    ]
}
