//! Acting as somebody else, and the tokens of service accounts.

use std::sync::Arc;

use axum::body::Body;
use coracle_apiserver::{
    UserInfo,
    ambient::System,
    auth::{Authenticator, authenticator::user_of},
};
use coracle_pki::TokenKey;
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Answer, Cluster, PODS, pod};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Lets a user do something in the whole cluster.
async fn allow(cluster: &Cluster, user: &str, rule: Value) {
    let name = format!("{user}-may");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    cluster
        .post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    cluster
        .post(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await
        .expect(201);
}

async fn whoami(cluster: &Cluster, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    cluster.request(Method::POST, WHOAMI, &all, "{}").await
}

#[tokio::test]
async fn who_may_acts_as_somebody_else_and_as_nobody_more() {
    let mut cluster = Cluster::new().await;
    let rule = json!({"apiGroups": [""], "resources": ["users", "groups"], "resourceNames": ["bob", "dev"], "verbs": ["impersonate"]});
    allow(&cluster, "jane", rule).await;
    cluster.user = UserInfo::new("jane", Vec::<String>::new());
    let bob = [("impersonate-user", "bob"), ("impersonate-group", "dev")];
    let answer = whoami(&cluster, &bob).await.expect(201);
    let info = &answer["status"]["userInfo"];
    assert_eq!(info["username"], "bob");
    assert_eq!(info["groups"], json!(["dev", "system:authenticated"]));

    let message = whoami(&cluster, &[("impersonate-user", "root")])
        .await
        .refused(403, "Forbidden");
    assert_eq!(
        message,
        "users \"root\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    let masters = [
        ("impersonate-user", "bob"),
        ("impersonate-group", "system:masters"),
    ];
    whoami(&cluster, &masters).await.refused(403, "Forbidden");
    for header in ["impersonate-uid", "impersonate-extra-scopes"] {
        whoami(&cluster, &[("impersonate-user", "bob"), (header, "x")])
            .await
            .refused(403, "Forbidden");
    }
    whoami(&cluster, &[("impersonate-group", "dev")])
        .await
        .refused(400, "BadRequest");
    // Bob may not list pods, whoever is behind him.
    let refused = cluster
        .request(Method::GET, PODS, &bob, Body::empty())
        .await
        .refused(403, "Forbidden");
    assert!(
        refused.contains("User \"bob\" cannot list resource \"pods\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_service_account_is_acted_as_with_its_groups() {
    let cluster = Cluster::new().await;
    let robot = [
        ("impersonate-user", "system:serviceaccount:default:robot"),
        ("impersonate-extra-scopes", "a"),
        ("impersonate-uid", "7"),
    ];
    let answer = whoami(&cluster, &robot).await.expect(201);
    let info = &answer["status"]["userInfo"];
    assert_eq!(
        info["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ])
    );
    assert_eq!(
        (&info["extra"], &info["uid"]),
        (&json!({"scopes": ["a"]}), &json!("7"))
    );
}

struct Tokens {
    cluster: Cluster,
    key: Arc<TokenKey>,
    _folder: tempfile::TempDir,
}

async fn tokens() -> Tokens {
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(TokenKey::load_or_create(folder.path(), "coracle", "coracle").unwrap());
    let given = Arc::clone(&key);
    let cluster = Cluster::with(move |options| options.tokens = Some(given)).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.post(ACCOUNTS, &account).await.expect(201);
    Tokens {
        cluster,
        key,
        _folder: folder,
    }
}

impl Tokens {
    async fn request(&self, spec: Value) -> Answer {
        let body =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.cluster
            .post(&format!("{ACCOUNTS}/robot/token"), &body)
            .await
    }

    async fn review(&self, token: &str, audiences: Value) -> Value {
        let body = json!({"spec": {"token": token, "audiences": audiences}});
        let uri = "/apis/authentication.k8s.io/v1/tokenreviews";
        self.cluster.post(uri, &body).await.expect(201)["status"].clone()
    }

    /// The cluster as the bearer of a token sees it.
    fn bearer(&mut self, token: &str) {
        let authenticator = Authenticator::new(Arc::clone(&self.key), Arc::new(System));
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
        );
        self.cluster.user = authenticator.authenticate(None, "/", &headers).unwrap();
    }
}

#[tokio::test]
async fn a_token_is_its_service_accounts_as_long_as_that_is_there() {
    let mut tokens = tokens().await;
    let made = tokens.request(json!({})).await.expect(201);
    assert_eq!(
        made["spec"],
        json!({"audiences": ["coracle"], "expirationSeconds": 3600})
    );
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    let ends: Timestamp = made["status"]["expirationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(ends > Timestamp::now());
    let status = tokens.review(&token, Value::Null).await;
    assert_eq!(
        (&status["authenticated"], &status["user"]["username"]),
        (&json!(true), &json!("system:serviceaccount:default:robot"))
    );
    let status = tokens.review(&token, json!(["other"])).await;
    assert_eq!(
        (&status["authenticated"], &status["error"]),
        (&json!(false), &json!("invalid bearer token"))
    );
    assert_eq!(
        tokens.review("nonsense", Value::Null).await["authenticated"],
        false
    );

    let admin = tokens.cluster.user.clone();
    tokens.bearer(&token);
    let me = whoami(&tokens.cluster, &[]).await.expect(201);
    let groups = json!([
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated"
    ]);
    assert_eq!(me["status"]["userInfo"]["groups"], groups);
    let bearer = std::mem::replace(&mut tokens.cluster.user, admin);
    tokens
        .cluster
        .delete(&format!("{ACCOUNTS}/robot"))
        .await
        .expect(200);
    assert_eq!(
        tokens.review(&token, Value::Null).await["authenticated"],
        false
    );
    tokens.cluster.user = bearer;
    whoami(&tokens.cluster, &[])
        .await
        .refused(401, "Unauthorized");
}

#[tokio::test]
async fn a_token_may_be_for_others_and_bound_to_a_pod() {
    let tokens = tokens().await;
    let made = tokens
        .request(json!({"audiences": ["vault"], "expirationSeconds": 600}))
        .await
        .expect(201);
    let token = made["status"]["token"].as_str().unwrap();
    let status = tokens.review(token, json!(["vault", "other"])).await;
    assert_eq!(status["audiences"], json!(["vault"]));
    assert_eq!(
        tokens.review(token, Value::Null).await["authenticated"],
        false
    );

    let mut object = pod("p");
    object["spec"]["serviceAccountName"] = json!("robot");
    tokens.cluster.post(PODS, &object).await.expect(201);
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    let made = tokens.request(bound).await.expect(201);
    let token = made["status"]["token"].as_str().unwrap();
    let claims = tokens.key.verify(token, Timestamp::now()).unwrap();
    assert_eq!(
        user_of(claims).unwrap().extra["authentication.kubernetes.io/pod-name"],
        ["p"]
    );
    assert_eq!(
        tokens.review(token, Value::Null).await["authenticated"],
        true
    );
    tokens
        .cluster
        .delete(&format!("{PODS}/p?gracePeriodSeconds=0"))
        .await
        .expect(200);
    assert_eq!(
        tokens.review(token, Value::Null).await["authenticated"],
        false
    );
}

#[tokio::test]
async fn bad_requests_for_tokens_are_refused() {
    let tokens = tokens().await;
    let short = tokens
        .request(json!({"expirationSeconds": 10}))
        .await
        .refused(422, "Invalid");
    assert!(short.contains("spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes"), "{short}");
    let none = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}});
    tokens.request(none).await.refused(404, "NotFound");
    tokens.cluster.post(PODS, &pod("p")).await.expect(201);
    let others = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    tokens.request(others).await.refused(400, "BadRequest");
    let nobody = format!("{ACCOUNTS}/nobody/token");
    tokens
        .cluster
        .post(&nobody, &json!({"spec": {}}))
        .await
        .refused(404, "NotFound");
    let keyless = Cluster::new().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    keyless.post(ACCOUNTS, &account).await.expect(201);
    keyless
        .post(&format!("{ACCOUNTS}/robot/token"), &json!({}))
        .await
        .refused(503, "ServiceUnavailable");
}
