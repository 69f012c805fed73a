//! The text is YAML that says what was asked for.

use serde_json::Value;

use super::*;

fn parsed(config: &Kubeconfig) -> Value {
    serde_saphyr::from_str(&config.to_yaml()).unwrap()
}

fn config() -> Kubeconfig {
    Kubeconfig {
        server: "https://127.0.0.1:6443".to_owned(),
        ca_pem: "CA".to_owned(),
        cluster: "coracle".to_owned(),
        user: "admin".to_owned(),
        namespace: None,
        credential: Credential::Token("a.b-c_d.e".to_owned()),
    }
}

#[test]
fn a_token_kubeconfig_reads_well() {
    insta::assert_snapshot!(config().to_yaml(), @r"
    apiVersion: v1
    kind: Config
    clusters:
    - name: coracle
      cluster:
        server: https://127.0.0.1:6443
        certificate-authority-data: Q0E=
    users:
    - name: admin
      user:
        token: a.b-c_d.e
    contexts:
    - name: admin@coracle
      context:
        cluster: coracle
        user: admin
    current-context: admin@coracle
    ");
}

#[test]
fn certificates_are_embedded() {
    let identity = Identity {
        cert_pem: "CERT".to_owned(),
        key_pem: "KEY".to_owned(),
    };
    let value = parsed(&Kubeconfig {
        credential: Credential::Certificate(identity),
        namespace: Some("team-a".to_owned()),
        ..config()
    });
    let at = |pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap();
    assert_eq!(
        at("/users/0/user/client-certificate-data"),
        STANDARD.encode("CERT")
    );
    assert_eq!(at("/users/0/user/client-key-data"), STANDARD.encode("KEY"));
    assert_eq!(at("/contexts/0/context/namespace"), "team-a");
    assert_eq!(at("/current-context"), at("/contexts/0/name"));
}

#[test]
fn odd_names_stay_strings_and_inject_nothing() {
    for odd in [
        "true",
        "12",
        "",
        "system:masters",
        "a: b",
        "a\n- name: evil",
        "\"quoted\"",
        "#comment",
        "é",
        "- x",
    ] {
        let value = parsed(&Kubeconfig {
            cluster: odd.to_owned(),
            user: odd.to_owned(),
            server: format!("https://[::1]:6443/{odd}"),
            credential: Credential::Token(odd.to_owned()),
            ..config()
        });
        let at = |pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        assert_eq!(at("/clusters/0/name"), odd);
        assert_eq!(at("/users/0/user/token"), odd);
        assert_eq!(
            at("/clusters/0/cluster/server"),
            format!("https://[::1]:6443/{odd}")
        );
        assert_eq!(at("/contexts/0/context/user"), odd);
        assert_eq!(value.as_object().unwrap().len(), 6);
    }
}
