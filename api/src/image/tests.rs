//! Names, manifests and layers: good ones, bad ones, and whatever bytes there are.

use std::io::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MODULE: &[u8] = b"\0asm\x01\0\0\0rest";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0rest";
const LIMIT: usize = 1 << 20;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[test]
fn image_names_are_read_as_everywhere() {
    let d = digest("x");
    for (name, registry, repository, tag, has_digest) in [
        ("hello", None, "hello", None, false),
        ("hello:1.0", None, "hello", Some("1.0"), false),
        (
            "team/hello:V_1-x.y",
            None,
            "team/hello",
            Some("V_1-x.y"),
            false,
        ),
        (
            "registry.example/x/y",
            Some("registry.example"),
            "x/y",
            None,
            false,
        ),
        ("localhost/x", Some("localhost"), "x", None, false),
        (
            "localhost:5000/x:1",
            Some("localhost:5000"),
            "x",
            Some("1"),
            false,
        ),
        ("[::1]:5000/x", Some("[::1]:5000"), "x", None, false),
        (
            "127.0.0.1:1/a-b/c__d/e.f",
            Some("127.0.0.1:1"),
            "a-b/c__d/e.f",
            None,
            false,
        ),
        (&*format!("hello@{d}"), None, "hello", None, true),
        (
            &*format!("r.example/x/y:1@{d}"),
            Some("r.example"),
            "x/y",
            Some("1"),
            true,
        ),
        ("a---b", None, "a---b", None, false),
    ] {
        let parsed = ImageReference::parse(name).unwrap();
        let expected = ImageReference {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: has_digest.then_some(d),
        };
        assert_eq!(parsed, expected, "{name}");
        assert_eq!(parsed.to_string(), name);
    }
}

#[test]
fn what_is_no_image_name_is_refused() {
    let long = "a".repeat(256);
    let tag = format!("a:{}", "t".repeat(129));
    for name in [
        "",
        ":1",
        "a:",
        "a:.b",
        "a:b/c",
        "Hello",
        "a//b",
        "/a",
        "a/",
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        "../etc",
        "a/../b",
        "a b",
        "a@",
        "a@sha256:12",
        "a@md5:0123",
        "host:port/a",
        "host:0/a",
        "host:70000/a",
        "-h.example/a",
        "h..example/a",
        "[::g]/a",
        "[::1]x/a",
        "a\0",
        "é",
        "http://x/y",
        &long,
        &tag,
    ] {
        assert!(ImageReference::parse(name).is_err(), "{name:?}");
    }
}

#[test]
fn what_is_wanted_is_the_digest_or_the_tag_or_latest() {
    let wanted = |name: &str| ImageReference::parse(name).unwrap().wanted();
    let d = digest("x").to_string();
    assert_eq!(wanted("a"), "latest");
    assert_eq!(wanted("a:1"), "1");
    assert_eq!(wanted(&format!("a:1@{d}")), d);
    let latest = |name: &str| ImageReference::parse(name).unwrap().is_latest();
    assert!(latest("a") && latest("a:latest") && !latest("a:1") && !latest(&format!("a@{d}")));
}

#[test]
fn digests_are_sha256_in_lower_case() {
    let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), text);
    assert_eq!(text.parse::<Digest>().unwrap(), Digest::of(b""));
    for bad in [
        "",
        "sha256:",
        &text[7..],
        &text.to_uppercase(),
        &text[..70],
        &format!("{text}0"),
        &text.replace("sha256", "sha512"),
    ] {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
}

fn manifest(layers: &Value) -> Manifest {
    let config = json!({"mediaType": media::WASM_CONFIG, "digest": digest("config"), "size": 2});
    let text = json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": layers});
    Manifest::parse(text.to_string().as_bytes()).unwrap()
}

fn layer(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(media_type), "size": 5})
}

#[test]
fn the_wasm_layer_is_found() {
    let oci = "application/vnd.oci.image.layer.v1.tar+gzip";
    let titled = json!({"mediaType": "application/octet-stream", "digest": digest("t"), "size": 1,
        "annotations": {"org.opencontainers.image.title": "app.wasm"}});
    for (layers, form) in [
        (json!([layer(media::WASM)]), Form::Wasm),
        (json!([layer(media::WASM_CONTENT)]), Form::Wasm),
        (
            json!([layer(oci), layer(media::WASM), layer("text/plain")]),
            Form::Wasm,
        ),
        (json!([layer(oci)]), Form::TarGzip),
        (
            json!([layer("application/vnd.docker.image.rootfs.diff.tar.gzip")]),
            Form::TarGzip,
        ),
        (
            json!([layer("application/vnd.oci.image.layer.v1.tar")]),
            Form::Tar,
        ),
        (json!([titled]), Form::Wasm),
    ] {
        let Choice::Layer(chosen) = manifest(&layers).choose().unwrap() else {
            panic!("{layers}");
        };
        assert_eq!(chosen.form, form, "{layers}");
    }
    for (layers, told) in [
        (json!([]), "the image holds no wasm: it has no layers"),
        (
            json!([layer("text/plain")]),
            r#"the image holds no wasm: its layer is "text/plain""#,
        ),
        (
            json!([layer(media::WASM), layer(media::WASM)]),
            "the image holds several wasm files: 2 layers are wasm",
        ),
        (
            json!([layer("a/b"), layer("c/d")]),
            "the image holds no wasm: none of its 2 layers is wasm (a/b, c/d)",
        ),
    ] {
        assert_eq!(manifest(&layers).choose().unwrap_err().to_string(), told);
    }
}

#[test]
fn an_index_leads_to_the_manifest_for_wasm() {
    let entry = |os: &str, architecture: &str| {
        json!({"mediaType": media::MANIFEST, "digest": digest(&format!("{os}/{architecture}")), "size": 1,
            "platform": {"os": os, "architecture": architecture}})
    };
    let chosen = |entries: &Value| {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        Manifest::parse(index.to_string().as_bytes())
            .unwrap()
            .choose()
    };
    for (entries, expected) in [
        (
            json!([
                entry("linux", "amd64"),
                entry("wasip1", "wasm"),
                entry("wasip2", "wasm")
            ]),
            "wasip2/wasm",
        ),
        (
            json!([entry("linux", "amd64"), entry("wasi", "wasm32")]),
            "wasi/wasm32",
        ),
        (
            json!([entry("linux", "amd64"), entry("unknown", "unknown")]),
            "linux/amd64",
        ),
    ] {
        let Choice::Manifest(manifest) = chosen(&entries).unwrap() else {
            panic!("{entries}");
        };
        assert_eq!(manifest.digest, digest(expected), "{entries}");
    }
    let told = chosen(&json!([entry("linux", "amd64"), entry("linux", "arm64")])).unwrap_err();
    assert_eq!(
        told.to_string(),
        "the image holds no wasm: none of its 2 manifests is for wasm (linux/amd64, linux/arm64)"
    );
    assert!(chosen(&json!([])).is_err());
}

#[test]
fn what_is_no_manifest_is_refused() {
    let both = json!({"schemaVersion": 2, "layers": [], "manifests": []}).to_string();
    let bad_digest = json!({"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "sha256:../..", "size": 1}]}).to_string();
    let negative = json!({"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": digest("a"), "size": -1}]}).to_string();
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"schemaVersion": 1, "layers": []}"#,
        r#"{"schemaVersion": 2}"#,
        &both,
        &bad_digest,
        &negative,
    ] {
        assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
    }
    let large = vec![b' '; MANIFEST_LIMIT + 1];
    assert!(matches!(
        Manifest::parse(&large),
        Err(ImageError::TooLarge { .. })
    ));
}

#[test]
fn a_built_image_is_found_again_and_always_the_same() {
    let info = ComponentInfo {
        imports: vec!["wasi:http/types@0.2.0".to_owned()],
        exports: vec!["wasi:http/incoming-handler@0.2.0".to_owned()],
    };
    for (wasm, os) in [(MODULE, "wasip1"), (COMPONENT, "wasip2")] {
        let image = Image::of_wasm(wasm, Some(&info)).unwrap();
        assert_eq!(image, Image::of_wasm(wasm, Some(&info)).unwrap());
        assert_eq!(image.manifest.digest, Digest::of(&image.manifest_bytes));
        let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
        assert_eq!(config["os"], os);
        assert_eq!(config["architecture"], "wasm");
        assert_eq!(config["layerDigests"][0], Digest::of(wasm).to_string());
        assert_eq!(config.get("component").is_some(), os == "wasip2");
        let manifest = Manifest::parse(&image.manifest_bytes).unwrap();
        assert_eq!(manifest.kind(), Some(media::WASM_CONFIG));
        let Choice::Layer(layer) = manifest.choose().unwrap() else {
            panic!("no layer");
        };
        assert_eq!(
            (layer.digest, layer.size),
            (Digest::of(wasm), wasm.len() as u64)
        );
        assert_eq!(&*layer.unpack(wasm, LIMIT).unwrap(), wasm);
    }
    assert!(Image::of_wasm(b"\x7fELF....", None).is_err());
    assert!(Image::of_wasm(b"\0asm", None).is_err());
}

/// A tar archive of these entries: kind, name, content.
fn tar(entries: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (kind, name, content) in entries {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = *kind;
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(form: Form, content: &[u8]) -> Result<Vec<u8>, String> {
    let layer = Layer {
        digest: Digest::of(content),
        size: content.len() as u64,
        form,
    };
    layer
        .unpack(content, LIMIT)
        .map(|wasm| wasm.into_owned())
        .map_err(|error| error.to_string())
}

#[test]
fn the_only_wasm_file_comes_out_of_an_archive() {
    let archive = tar(&[
        (b'5', "app/", b""),
        (b'0', "app/readme", b"hi"),
        (b'0', "app/x.wasm", MODULE),
    ]);
    assert_eq!(unpacked(Form::Tar, &archive).unwrap(), MODULE);
    assert_eq!(unpacked(Form::TarGzip, &gzip(&archive)).unwrap(), MODULE);
    let long = format!("{}/x.wasm", "d".repeat(200));
    let gnu = tar(&[
        (b'L', "././@LongLink", format!("{long}\0").as_bytes()),
        (b'0', "cut", MODULE),
    ]);
    assert_eq!(unpacked(Form::Tar, &gnu).unwrap(), MODULE);
    let record = |text: &str| {
        format!(
            "{} {text}\n",
            text.len() + 2 + (text.len() + 4).to_string().len()
        )
    };
    let pax = record(&format!("path={long}"));
    assert_eq!(
        pax.len(),
        pax.split(' ').next().unwrap().parse::<usize>().unwrap()
    );
    let pax = tar(&[(b'x', "pax", pax.as_bytes()), (b'0', "cut", MODULE)]);
    assert_eq!(unpacked(Form::Tar, &pax).unwrap(), MODULE);
}

#[test]
fn archives_that_will_not_do_are_refused_with_a_reason() {
    let one = tar(&[(b'0', "a.wasm", MODULE)]);
    let mut torn = one.clone();
    torn[0] ^= 1;
    let bomb = gzip(&vec![0; LIMIT + 1]);
    let link = tar(&[(b'2', "a.wasm", b"")]);
    for (form, content, told) in [
        (
            Form::Tar,
            tar(&[]),
            "the image holds no wasm: the layer's archive is empty",
        ),
        (
            Form::Tar,
            tar(&[(b'0', "a.txt", b"x")]),
            "the image holds no wasm: the layer's archive has a.txt",
        ),
        (
            Form::Tar,
            link,
            "the image holds no wasm: the layer's archive has a.wasm",
        ),
        (
            Form::Tar,
            tar(&[(b'0', "a.wasm", MODULE), (b'0', "b.wasm", MODULE)]),
            "the image holds several wasm files: a.wasm, b.wasm",
        ),
        (
            Form::Tar,
            one[..515].to_vec(),
            "the layer cannot be unpacked: the archive is damaged: it ends within a file",
        ),
        (
            Form::Tar,
            torn,
            "the layer cannot be unpacked: the archive is damaged: a checksum is wrong",
        ),
        (
            Form::TarGzip,
            bomb,
            "the unpacked layer is larger than 1048576 bytes",
        ),
        (
            Form::Wasm,
            vec![0; LIMIT + 1],
            "the wasm is larger than 1048576 bytes",
        ),
    ] {
        assert_eq!(unpacked(form, &content).unwrap_err(), told);
    }
    assert!(unpacked(Form::TarGzip, &gzip(&one)[..20]).is_err());
    assert!(unpacked(Form::TarGzip, b"no gzip").is_err());
}

proptest! {
    /// Whatever the bytes, an answer and no panic.
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..2048), cut in 0..2048_usize, flip in any::<(prop::sample::Index, u8)>()) {
        let _ = unpacked(Form::Tar, &bytes);
        let _ = unpacked(Form::TarGzip, &bytes);
        let _ = Manifest::parse(&bytes);
        let mut archive = tar(&[(b'x', "pax", b"12 path=abc\n"), (b'0', "a.wasm", MODULE)]);
        let at = flip.0.index(archive.len());
        archive[at] ^= flip.1;
        archive.truncate(cut);
        let _ = unpacked(Form::Tar, &archive);
    }

    /// What is accepted as a name means itself, and its repository cannot leave a folder.
    #[test]
    fn accepted_names_are_harmless(name in "[a-zA-Z0-9./:@_%\\[\\]-]{0,40}") {
        if let Ok(parsed) = ImageReference::parse(&name) {
            prop_assert_eq!(parsed.to_string(), name);
            prop_assert!(parsed.repository.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '_'])));
        }
    }
}
