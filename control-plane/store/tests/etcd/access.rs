//! etcd behind TLS, and etcd that wants to know who asks.

use std::{fs, path::Path, process::Command};

use coracle_store::{EtcdOptions, EtcdStorage, Op, Storage, StoreError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::member::Member;

/// A CA's certificate, and a certificate with its key for this machine, in PEM, as files.
fn certificates(folder: &Path) -> [String; 3] {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own_pem = own.signed_by(&key, &issuer).unwrap().pem();
    [
        ("ca", ca_pem),
        ("cert", own_pem),
        ("key", key.serialize_pem()),
    ]
    .map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn members_and_servers_prove_themselves_by_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(folder.path());
    let arguments = [
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        format!("--trusted-ca-file={ca}"),
        "--client-cert-auth".to_owned(),
    ];
    let Some(members) = Member::cluster(1, &arguments) else {
        return;
    };
    let read = |path: &str| fs::read(path).unwrap();
    let stranger = EtcdOptions {
        ca: Some(read(&ca)),
        ..EtcdOptions::new(vec![members[0].url.clone()])
    };
    let refused = EtcdStorage::open(&stranger).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    let known = EtcdOptions {
        identity: Some((read(&certificate), read(&key))),
        ..stranger
    };
    let store = EtcdStorage::open(&known).await.unwrap();
    store.commit(vec![Op::create("/a", "1")]).await.unwrap();
    assert_eq!(&store.get("/a").await.unwrap().unwrap().value[..], b"1");
}

#[tokio::test]
async fn a_user_logs_in_and_others_are_refused() {
    let Some(members) = Member::cluster(1, &[]) else {
        return;
    };
    let url = members[0].url.clone();
    let etcdctl = |arguments: &[&str]| {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &url])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    etcdctl(&["user", "add", "root:secret"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    etcdctl(&["auth", "enable"]);
    let nobody = EtcdStorage::open(&EtcdOptions::new(vec![url.clone()])).await;
    assert!(nobody.is_err());
    let with = |password: &str| EtcdOptions {
        credentials: Some(("root".to_owned(), password.to_owned())),
        ..EtcdOptions::new(vec![url.clone()])
    };
    assert!(EtcdStorage::open(&with("wrong")).await.is_err());
    let store = EtcdStorage::open(&with("secret")).await.unwrap();
    let mut watch = store.watch("/", store.revision()).await.unwrap();
    store.commit(vec![Op::create("/a", "1")]).await.unwrap();
    assert_eq!(watch.next().await.unwrap().len(), 1);
}
