//! The rows of docs/api-support.md: commands as users type them, and a part of what they must say. `NS` stands for the namespace of the run, `<name` feeds a
//! manifest, `!` begins what must be refused. Rows come in an order: later ones use what earlier ones made.

/// A subcommand.
pub struct Row {
    /// As the page calls it.
    pub name: &'static str,
    /// Commands with a part of what they say.
    pub steps: &'static [(&'static str, &'static str)],
}

const fn row(name: &'static str, steps: &'static [(&'static str, &'static str)]) -> Row {
    Row { name, steps }
}

/// What is fed to commands.
pub const MANIFESTS: &[(&str, &str)] = &[
    (
        "map",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '1'}\n",
    ),
    (
        "map2",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '2'}\n",
    ),
    (
        "typo",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndatum: {a: '2'}\n",
    ),
    (
        "twice",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\ndata: {a: '1', a: '2'}\n",
    ),
    (
        "ssa",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '1', b: '1'}\n",
    ),
    (
        "ssa2",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '2'}\n",
    ),
    (
        "ssa3",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '3'}\n",
    ),
    (
        "web",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {app: web}}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - name: web\n        image: web:1\n        ports: [{name: http, containerPort: 8080}]\n        env: [{name: A, value: '1'}]\n        resources: {requests: {cpu: 10m}}\n",
    ),
    (
        "node",
        "apiVersion: v1\nkind: Node\nmetadata: {name: node-NS}\n",
    ),
    (
        "pods",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: one, labels: {set: pods}}\nspec: {containers: [{name: c, image: 'x:1'}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: two, labels: {set: pods}}\nspec: {containers: [{name: c, image: 'x:1'}]}\n",
    ),
    (
        "crole",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reconciled, namespace: NS}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n",
    ),
];

/// All rows.
pub const ROWS: &[Row] = &[
    row("version", &[("version", "Server Version")]),
    row("cluster-info", &[("cluster-info", "is running at")]),
    row(
        "api-resources",
        &[
            ("api-resources", "deployments"),
            (
                "api-resources --verbs=list --namespaced -o name",
                "deployments.apps",
            ),
        ],
    ),
    row("api-versions", &[("api-versions", "apps/v1")]),
    row(
        "get --raw",
        &[
            ("get --raw /readyz?verbose", "readyz check passed"),
            ("get --raw /livez", "ok"),
            ("get --raw /healthz", "ok"),
            ("get --raw /metrics", "# TYPE"),
            ("get --raw /version", "gitVersion"),
        ],
    ),
    row(
        "create namespace",
        &[
            ("create namespace NS-b", "created"),
            ("delete namespace NS-b --wait=false", "deleted"),
        ],
    ),
    row(
        "create deployment",
        &[(
            "create deployment made --image=web:1 --replicas=2 --port=80",
            "deployment.apps/made created",
        )],
    ),
    row(
        "create job",
        &[(
            "create job once --image=web:1 -- run",
            "job.batch/once created",
        )],
    ),
    row(
        "create cronjob",
        &[(
            "create cronjob often --image=web:1 --schedule='* * * * *'",
            "cronjob.batch/often created",
        )],
    ),
    row(
        "create configmap",
        &[
            (
                "create configmap made --from-literal=k=v",
                "configmap/made created",
            ),
            ("get configmap made -o jsonpath={.data.k}", "v"),
        ],
    ),
    row(
        "create secret generic",
        &[
            (
                "create secret generic made --from-literal=k=v",
                "secret/made created",
            ),
            ("get secret made -o jsonpath={.data.k}", "dg=="),
        ],
    ),
    row(
        "create secret docker-registry",
        &[(
            "create secret docker-registry pull --docker-server=x --docker-username=u --docker-password=p",
            "secret/pull created",
        )],
    ),
    row(
        "create serviceaccount",
        &[(
            "create serviceaccount robot",
            "serviceaccount/robot created",
        )],
    ),
    row(
        "create token",
        &[("create token robot --duration=20m", "eyJ")],
    ),
    row(
        "create service clusterip",
        &[(
            "create service clusterip cip --tcp=80:8080",
            "service/cip created",
        )],
    ),
    row(
        "create service nodeport",
        &[(
            "create service nodeport np --tcp=80:8080",
            "service/np created",
        )],
    ),
    row(
        "create service externalname",
        &[(
            "create service externalname ext --external-name=example.com",
            "service/ext created",
        )],
    ),
    row(
        "create role",
        &[(
            "create role reader --verb=get,list --resource=pods",
            "role.rbac.authorization.k8s.io/reader created",
        )],
    ),
    row(
        "create rolebinding",
        &[(
            "create rolebinding readers --role=reader --serviceaccount=NS:robot",
            "created",
        )],
    ),
    row(
        "create clusterrole",
        &[
            (
                "create clusterrole NS-reader --verb=get --resource=nodes",
                "created",
            ),
            ("delete clusterrole NS-reader", "deleted"),
        ],
    ),
    row(
        "create clusterrolebinding",
        &[(
            "create clusterrolebinding NS-viewers --clusterrole=view --user=viewer-NS",
            "created",
        )],
    ),
    row(
        "create quota",
        &[
            (
                "create quota small --hard=pods=50",
                "resourcequota/small created",
            ),
            ("delete quota small", "deleted"),
        ],
    ),
    row(
        "create ingress",
        &[(
            "create ingress front --rule=example.com/=cip:80",
            "ingress.networking.k8s.io/front created",
        )],
    ),
    row(
        "create poddisruptionbudget",
        &[(
            "create poddisruptionbudget budget --selector=app=none --min-available=1",
            "created",
        )],
    ),
    row(
        "create priorityclass",
        &[
            ("create priorityclass NS-high --value=1000", "created"),
            ("delete priorityclass NS-high", "deleted"),
        ],
    ),
    row(
        "create -f",
        &[
            ("create -f - <pods", "pod/two created"),
            ("! create -f - <pods", "already exists"),
        ],
    ),
    row(
        "create --dry-run=server",
        &[
            (
                "create configmap dry --from-literal=a=b --dry-run=server -o yaml",
                "uid:",
            ),
            ("! get configmap dry", "not found"),
        ],
    ),
    row(
        "apply",
        &[
            ("apply -f - <map", "configmap/applied created"),
            ("apply -f - <map", "unchanged"),
            ("apply -f - <map2", "configured"),
            ("get configmap applied -o jsonpath={.data.a}", "2"),
            ("! apply -f - <typo", "unknown field \"datum\""),
        ],
    ),
    row(
        "apply --validate=warn",
        &[(
            "apply --validate=warn -f - <typo",
            "unknown field \"datum\"",
        )],
    ),
    row(
        "apply --server-side",
        &[
            ("apply --server-side -f - <ssa", "serverside-applied"),
            ("apply --server-side -f - <ssa2", "serverside-applied"),
            ("get configmap ssa -o jsonpath={.data}", "{\"a\":\"2\"}"),
            (
                "! apply --server-side --field-manager=other -f - <ssa3",
                "Apply failed with 1 conflict: conflict with \"kubectl\": .data.a",
            ),
            (
                "apply --server-side --field-manager=other --force-conflicts -f - <ssa3",
                "serverside-applied",
            ),
            (
                "get configmap ssa -o yaml --show-managed-fields",
                "manager: other",
            ),
            ("apply --server-side -f - <map", "serverside-applied"),
        ],
    ),
    row(
        "apply view-last-applied",
        &[(
            "apply view-last-applied configmap/applied",
            "kind: ConfigMap",
        )],
    ),
    row(
        "apply --prune",
        &[(
            "apply --prune -l prune=me --dry-run=server -f - <map",
            "configmap/applied",
        )],
    ),
    row(
        "diff",
        &[
            ("apply -f - <web", "deployment.apps/web created"),
            ("diff -f - <web", ""),
            ("! diff -f - <map2", "a: \"2\""),
        ],
    ),
    row(
        "diff --server-side",
        &[
            (
                "apply --server-side --force-conflicts -f - <web",
                "serverside-applied",
            ),
            ("diff --server-side -f - <web", ""),
        ],
    ),
    row("replace", &[("replace -f - <web", "replaced")]),
    row(
        "get",
        &[
            ("get deployment web", "READY"),
            ("get deployment web -o wide", "SELECTOR"),
            ("get deployment web -o yaml", "kind: Deployment"),
            ("get deployment web -o json", "\"kind\": \"Deployment\""),
            ("get deployment web -o name", "deployment.apps/web"),
            ("get deployment web -o jsonpath={.spec.replicas}", "2"),
            ("get deployment -o custom-columns=N:.metadata.name", "web"),
            ("get deployment --show-labels", "app=web"),
            ("get deployment -L app", "APP"),
            ("get pods -A", "NAMESPACE"),
            ("get all", "deployment.apps/web"),
            ("get deployment,configmap", "configmap/applied"),
        ],
    ),
    row(
        "get with selectors",
        &[
            ("get pods -l set=pods -o name", "pod/one"),
            ("get pods -l 'set in (pods),!none' -o name", "pod/two"),
            (
                "get pods --field-selector=metadata.name=one -o name",
                "pod/one",
            ),
            ("get pods --sort-by=.metadata.name", "two"),
            ("get pods --chunk-size=1 -o name", "pod/two"),
        ],
    ),
    row(
        "describe",
        &[
            ("describe deployment web", "RollingUpdateStrategy"),
            ("describe pod one", "Containers:"),
            ("describe service cip", "TargetPort"),
            ("describe configmap applied", "Data"),
            ("describe secret made", "Opaque"),
            ("describe serviceaccount robot", "Tokens:"),
            ("describe role reader", "PolicyRule"),
            ("describe namespace NS", "Active"),
        ],
    ),
    row(
        "explain",
        &[
            ("explain deployment.spec.template", "FIELD"),
            ("explain pods --recursive", "livenessProbe"),
            ("explain service.spec.ports", "targetPort"),
        ],
    ),
    row(
        "label",
        &[
            ("label deployment web tier=front", "labeled"),
            ("label deployment web tier-", "unlabeled"),
        ],
    ),
    row(
        "annotate",
        &[("annotate deployment web note=x", "annotated")],
    ),
    row(
        "patch",
        &[
            (
                "patch deployment web -p '{\"spec\":{\"paused\":true}}'",
                "patched",
            ),
            (
                "patch deployment web --type=merge -p '{\"spec\":{\"paused\":false}}'",
                "patched",
            ),
            (
                "patch deployment web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]'",
                "patched",
            ),
            (
                "patch deployment web --subresource=status --type=merge -p '{\"status\":{\"observedGeneration\":1}}'",
                "patched",
            ),
        ],
    ),
    row(
        "scale",
        &[
            ("scale deployment web --replicas=4", "scaled"),
            (
                "get deployment web --subresource=scale -o jsonpath={.spec.replicas}",
                "4",
            ),
        ],
    ),
    row(
        "autoscale",
        &[
            (
                "autoscale deployment web --max=5 --cpu-percent=80",
                "autoscaled",
            ),
            ("describe hpa web", "80%"),
        ],
    ),
    row(
        "expose",
        &[(
            "expose deployment web --port=80 --target-port=http",
            "service/web exposed",
        )],
    ),
    row("run", &[("run quick --image=web:1", "pod/quick created")]),
    row(
        "set",
        &[
            ("set image deployment/web web=web:2", "image updated"),
            ("set env deployment/web B=2", "env updated"),
            (
                "set resources deployment/web --limits=cpu=100m",
                "resource requirements updated",
            ),
            (
                "set serviceaccount deployment/web robot",
                "serviceaccount updated",
            ),
            ("set selector service/web app=web", "selector updated"),
            (
                "set subject rolebinding readers --user=jane",
                "subjects updated",
            ),
        ],
    ),
    row(
        "rollout",
        &[
            ("rollout pause deployment/web", "paused"),
            ("rollout resume deployment/web", "resumed"),
            ("rollout restart deployment/web", "restarted"),
            ("rollout history deployment/web", "REVISION"),
            ("rollout status deployment/web --watch=false", "Waiting for"),
        ],
    ),
    row("edit", &[("edit deployment web", "Edit cancelled")]),
    row(
        "wait",
        &[
            (
                "wait --for=jsonpath={.data.k}=v --timeout=20s configmap/made",
                "condition met",
            ),
            (
                "delete pod two --wait=false --grace-period=0 --force",
                "deleted",
            ),
            ("wait --for=delete --timeout=20s pod/two", ""),
        ],
    ),
    row("events", &[("events", "")]),
    row(
        "auth can-i",
        &[
            ("auth can-i create deployments", "yes"),
            ("! auth can-i create deployments --as=nobody", "no"),
            ("auth can-i --list", "*.*"),
        ],
    ),
    row("auth whoami", &[("auth whoami", "system:masters")]),
    row(
        "auth reconcile",
        &[("auth reconcile -f - <crole", "reconciled")],
    ),
    row(
        "--as, --as-group",
        &[
            ("get pods -n NS --as=viewer-NS", "one"),
            (
                "! delete pod one --as=viewer-NS",
                "User \"viewer-NS\" cannot delete resource \"pods\"",
            ),
            ("get pods --as=anybody --as-group=system:masters", "one"),
            ("get pods --as=system:serviceaccount:NS:robot", "one"),
        ],
    ),
    row(
        "cordon, uncordon, drain, taint",
        &[
            ("create -f - <node", "created"),
            ("cordon node-NS", "cordoned"),
            ("uncordon node-NS", "uncordoned"),
            ("taint node node-NS a=b:NoSchedule", "tainted"),
            ("drain node-NS", "drained"),
            ("delete node node-NS", "deleted"),
        ],
    ),
    row(
        "delete",
        &[
            ("delete configmap made", "deleted"),
            (
                "delete pods -l set=pods --force --grace-period=0",
                "deleted",
            ),
            ("delete deployment made --cascade=orphan", "deleted"),
            ("! delete configmap made", "not found"),
            ("delete configmap made --ignore-not-found", ""),
            ("delete secret --all", "deleted"),
        ],
    ),
];
