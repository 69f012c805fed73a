//! The registry as its clients see it, through the router; what is on disk is looked at where that is the point.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use coracle_api::image::{Descriptor, Digest, Image, Manifest};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tower::ServiceExt as _;

use super::*;
use crate::store::Limits;

const WASM: &[u8] = b"\0asm\x0d\0\x01\0 a component";
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    dir: tempfile::TempDir,
    registry: Registry,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status and the specification's code.
    fn refusal(&self) -> (u16, String) {
        let code = self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned();
        (self.status, code)
    }
}

fn fixture() -> Fixture {
    with(Limits::default())
}

fn with(limits: Limits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open_with(dir.path(), limits).unwrap();
    Fixture { dir, registry }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

impl Fixture {
    async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = timeout(PATIENCE, router(self.registry.clone()).oneshot(request))
            .await
            .unwrap()
            .unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(
            parts.headers["docker-distribution-api-version"],
            "registry/2.0"
        );
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &[], "").await
    }

    /// Begins an upload and says where it is.
    async fn begin(&self, name: &str) -> String {
        let begun = self
            .send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "")
            .await;
        assert_eq!(begun.status, 202);
        assert_eq!(begun.header("range"), "0-0");
        begun.header("location").to_owned()
    }

    async fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let location = self.begin(name).await;
        let put = self
            .send(
                "PUT",
                &format!("{location}?digest={digest}"),
                &[],
                content.to_vec(),
            )
            .await;
        assert_eq!(put.status, 201, "{:?}", put.body);
        assert_eq!(put.header("location"), format!("/v2/{name}/blobs/{digest}"));
        digest
    }

    async fn put_manifest(&self, name: &str, reference: &str, manifest: &Manifest) -> Answer {
        let media_type = manifest.media_type.clone().unwrap();
        let bytes = serde_json::to_vec(manifest).unwrap();
        let uri = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &uri, &[("content-type", &media_type)], bytes)
            .await
    }

    async fn push_image(&self, name: &str, tag: &str, wasm: &[u8]) -> Image {
        let image = Image::of_wasm(wasm, None).unwrap();
        self.push_blob(name, wasm).await;
        self.push_blob(name, &image.config_bytes).await;
        let headers = [("content-type", image.manifest.media_type.as_str())];
        let uri = format!("/v2/{name}/manifests/{tag}");
        let put = self
            .send("PUT", &uri, &headers, image.manifest_bytes.clone())
            .await;
        assert_eq!(put.status, 201, "{:?}", put.body);
        assert_eq!(
            put.header("docker-content-digest"),
            image.manifest.digest.to_string()
        );
        image
    }

    fn files_in(&self, dir: &str) -> usize {
        count(&self.dir.path().join(dir))
    }
}

/// How many files there are, at any depth.
fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { count(&path) } else { 1 })
            .sum()
    })
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let f = fixture();
    assert_eq!(f.get("/v2/").await.json(), json!({}));
    let image = f.push_image("team/hello", "1.0", WASM).await;
    for reference in ["1.0", &image.manifest.digest.to_string()] {
        let uri = format!("/v2/team/hello/manifests/{reference}");
        let pulled = f.get(&uri).await;
        assert_eq!(pulled.body, image.manifest_bytes);
        assert_eq!(pulled.header("content-type"), image.manifest.media_type);
        let head = f.send("HEAD", &uri, &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(
            head.header("content-length"),
            image.manifest_bytes.len().to_string()
        );
        assert_eq!(
            head.header("docker-content-digest"),
            image.manifest.digest.to_string()
        );
    }
    let uri = format!("/v2/team/hello/blobs/{}", image.layer.digest);
    let blob = f.get(&uri).await;
    assert_eq!(blob.body, WASM);
    assert_eq!(
        blob.header("docker-content-digest"),
        image.layer.digest.to_string()
    );
    let head = f.send("HEAD", &uri, &[], "").await;
    assert_eq!(head.header("content-length"), WASM.len().to_string());
    let part = f.send("GET", &uri, &[("range", "bytes=4-7")], "").await;
    assert_eq!((part.status, &*part.body), (206, &WASM[4..8]));
    assert_eq!(
        part.header("content-range"),
        format!("bytes 4-7/{}", WASM.len())
    );
    let none = f.send("GET", &uri, &[("range", "bytes=999-")], "").await;
    assert_eq!(none.status, 416);
    assert_eq!(f.files_in("uploads"), 0);
}

#[tokio::test]
async fn everything_is_still_there_after_a_restart_but_for_unfinished_uploads() {
    let f = fixture();
    let image = f.push_image("hello", "1.0", WASM).await;
    let location = f.begin("hello").await;
    f.send("PATCH", &location, &[], "half").await;
    assert_eq!(f.files_in("uploads"), 1);
    let dir = f.dir;
    drop(f.registry);
    let registry = Registry::open(dir.path()).unwrap();
    let f = Fixture { dir, registry };
    assert_eq!(f.files_in("uploads"), 0);
    assert_eq!(
        f.get("/v2/hello/manifests/1.0").await.body,
        image.manifest_bytes
    );
    assert_eq!(
        f.get(&location).await.refusal(),
        refused(404, "BLOB_UPLOAD_UNKNOWN")
    );
}

#[tokio::test]
async fn a_blob_comes_in_one_piece_or_in_chunks() {
    let f = fixture();
    let digest = Digest::of(b"monolithic");
    let uri = format!("/v2/a/blobs/uploads/?digest={digest}");
    let put = f.send("POST", &uri, &[], "monolithic").await;
    assert_eq!(
        (put.status, put.header("docker-content-digest")),
        (201, &*digest.to_string())
    );
    let location = f.begin("a").await;
    let first = f
        .send(
            "PATCH",
            &location,
            &[("content-range", "0-2"), ("content-length", "3")],
            "one",
        )
        .await;
    assert_eq!(
        (
            first.status,
            first.header("range"),
            first.header("location")
        ),
        (202, "0-2", &*location)
    );
    let gap = f
        .send(
            "PATCH",
            &location,
            &[("content-range", "5-7"), ("content-length", "3")],
            "two",
        )
        .await;
    assert_eq!(gap.refusal(), refused(416, "BLOB_UPLOAD_INVALID"));
    assert_eq!(
        (gap.header("range"), gap.header("location")),
        ("0-2", &*location)
    );
    let short = f
        .send(
            "PATCH",
            &location,
            &[("content-range", "3-9"), ("content-length", "3")],
            "two",
        )
        .await;
    assert_eq!(short.refusal(), refused(400, "SIZE_INVALID"));
    let odd = f
        .send("PATCH", &location, &[("content-range", "three")], "two")
        .await;
    assert_eq!(odd.refusal(), refused(400, "UNSUPPORTED"));
    // Docker sends chunks without saying where they belong.
    let second = f.send("PATCH", &location, &[], "two").await;
    assert_eq!((second.status, second.header("range")), (202, "0-5"));
    let status = f.get(&location).await;
    assert_eq!((status.status, status.header("range")), (204, "0-5"));
    let digest = Digest::of(b"onetwothree");
    let uri = format!("{location}?digest={digest}");
    let put = f
        .send(
            "PUT",
            &uri,
            &[("content-range", "6-10"), ("content-length", "5")],
            "three",
        )
        .await;
    assert_eq!(put.status, 201);
    assert_eq!(
        f.get(&format!("/v2/a/blobs/{digest}")).await.body,
        "onetwothree"
    );
    assert_eq!(f.get(&location).await.status, 404);
}

#[tokio::test]
async fn what_is_not_what_was_promised_is_not_kept() {
    let f = fixture();
    let digest = Digest::of(b"promised");
    let location = f.begin("a").await;
    let put = f
        .send("PUT", &format!("{location}?digest={digest}"), &[], "other")
        .await;
    assert_eq!(put.refusal(), refused(400, "DIGEST_INVALID"));
    let put = f
        .send(
            "POST",
            &format!("/v2/a/blobs/uploads/?digest={digest}"),
            &[],
            "other",
        )
        .await;
    assert_eq!(put.refusal(), refused(400, "DIGEST_INVALID"));
    let put = f
        .send(
            "POST",
            &format!("/v2/a/blobs/uploads/?digest={digest}"),
            &[("content-length", "9")],
            "promised",
        )
        .await;
    assert_eq!(put.refusal(), refused(400, "SIZE_INVALID"));
    let location = f.begin("a").await;
    assert_eq!(
        f.send("PUT", &location, &[], "x").await.refusal(),
        refused(400, "UNSUPPORTED")
    );
    let put = f
        .send("PUT", &format!("{location}?digest=md5:00"), &[], "x")
        .await;
    assert_eq!(put.refusal(), refused(400, "DIGEST_INVALID"));
    assert_eq!(f.send("DELETE", &location, &[], "").await.status, 204);
    assert_eq!(f.send("DELETE", &location, &[], "").await.status, 404);
    assert_eq!((f.files_in("blobs"), f.files_in("uploads")), (0, 0));
}

#[tokio::test]
async fn uploads_are_bounded_in_size_number_and_time() {
    let f = with(Limits {
        blob_bytes: 8,
        manifest_bytes: 64,
        uploads: 2,
        read_time: Duration::from_millis(50),
        ..Limits::default()
    });
    let location = f.begin("a").await;
    let large = f.send("PATCH", &location, &[], "123456789").await;
    assert_eq!(large.refusal(), refused(413, "SIZE_INVALID"));
    assert_eq!(f.get(&location).await.status, 404, "it is over");
    let large = f
        .send("PUT", "/v2/a/manifests/x", &[], vec![b' '; 65])
        .await;
    assert_eq!(large.refusal(), refused(413, "SIZE_INVALID"));
    let (one, _two) = (f.begin("a").await, f.begin("a").await);
    let third = f.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    assert_eq!(third.refusal(), refused(429, "TOOMANYREQUESTS"));
    assert_eq!(third.header("retry-after"), "5");
    // A client that stops in the middle of a chunk, and one that goes away.
    let (sender, body) = slow_body();
    sender.send(Ok(Bytes::from("123"))).await.unwrap();
    let stuck = f.send("PATCH", &one, &[], body).await;
    assert_eq!(stuck.refusal(), refused(408, "BLOB_UPLOAD_INVALID"));
    let (sender, body) = slow_body();
    sender.send(Ok(Bytes::from("45"))).await.unwrap();
    sender
        .send(Err(std::io::ErrorKind::ConnectionReset.into()))
        .await
        .unwrap();
    assert_eq!(f.send("PATCH", &one, &[], body).await.status, 408);
    // What came before is kept, and the client goes on.
    assert_eq!(f.get(&one).await.header("range"), "0-4");
    let digest = Digest::of(b"1234567");
    assert_eq!(
        f.send("PUT", &format!("{one}?digest={digest}"), &[], "67")
            .await
            .status,
        201
    );
    assert_eq!(
        f.get(&format!("/v2/a/blobs/{digest}")).await.body,
        "1234567"
    );
}

type Chunks = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// A body whose pieces come when they are sent.
fn slow_body() -> (Chunks, Body) {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let pieces = futures::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    (sender, Body::from_stream(pieces))
}

#[tokio::test]
async fn an_upload_nobody_adds_to_makes_room() {
    let f = with(Limits {
        uploads: 1,
        upload_idle: Duration::ZERO,
        ..Limits::default()
    });
    let first = f.begin("a").await;
    let second = f.begin("a").await;
    assert_eq!(f.get(&first).await.status, 404);
    assert_eq!(f.get(&second).await.status, 204);
    assert_eq!(f.files_in("uploads"), 1);
}

#[tokio::test]
async fn one_request_at_a_time_writes_to_an_upload() {
    let f = fixture();
    let location = f.begin("a").await;
    let (sender, body) = slow_body();
    let registry = f.registry.clone();
    let uri = location.clone();
    let slow = tokio::spawn(async move {
        let request = Request::patch(uri).body(body).unwrap();
        router(registry)
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    });
    sender.send(Ok(Bytes::from("12"))).await.unwrap();
    let held = async {
        while f.get(&location).await.header("range") != "0-1" {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, held).await.unwrap();
    let other = f.send("PATCH", &location, &[], "x").await;
    assert_eq!(other.refusal(), refused(409, "BLOB_UPLOAD_INVALID"));
    drop(sender);
    assert_eq!(timeout(PATIENCE, slow).await.unwrap().unwrap(), 202);
    // Uploads belong to their repository.
    assert_eq!(f.get(&location.replace("/a/", "/b/")).await.status, 404);
}

#[tokio::test]
async fn a_client_that_is_cut_off_in_the_middle_of_a_write_leaves_nothing_wrong() {
    let f = fixture();
    // One piece that takes several writes: larger than what a tokio file takes at once.
    let content: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&content);
    let mut cut_off = None;
    for _ in 0..100 {
        let location = f.begin("a").await;
        let request = Request::patch(&location)
            .body(Body::from(content.clone()))
            .unwrap();
        let mut sending = Box::pin(router(f.registry.clone()).oneshot(request));
        let done = futures::poll!(&mut sending).is_ready();
        drop(sending);
        if !done {
            cut_off = Some(location);
            break;
        }
        // The disk was faster; once more.
        f.send("DELETE", &location, &[], "").await;
    }
    let location = cut_off.expect("no write was ever cut off");
    assert_eq!(f.get(&location).await.header("range"), "0-0");
    let uri = format!("{location}?digest={digest}");
    let put = f.send("PUT", &uri, &[], content.clone()).await;
    assert_eq!(put.status, 201, "{:?}", put.body);
    let stored = f.get(&format!("/v2/a/blobs/{digest}")).await.body;
    assert!(stored == content, "the blob is not what was pushed");
}

#[tokio::test]
async fn an_upload_nobody_can_resume_goes_with_its_client() {
    let f = fixture();
    let digest = Digest::of(b"never comes");
    let (sender, body) = slow_body();
    let request = Request::post(format!("/v2/a/blobs/uploads/?digest={digest}"))
        .body(body)
        .unwrap();
    let mut sending = Box::pin(router(f.registry.clone()).oneshot(request));
    sender.send(Ok(Bytes::from("never"))).await.unwrap();
    let begun = async {
        while f.files_in("uploads") == 0 || sender.capacity() < sender.max_capacity() {
            assert!(futures::poll!(&mut sending).is_pending());
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    drop(sending);
    assert_eq!(f.files_in("uploads"), 0);
}

#[tokio::test]
async fn repositories_have_only_what_was_pushed_or_mounted_there() {
    let f = fixture();
    let digest = f.push_blob("a", b"shared").await;
    assert_eq!(
        f.get(&format!("/v2/b/blobs/{digest}")).await.refusal(),
        refused(404, "BLOB_UNKNOWN")
    );
    let mount = |from: &str| format!("/v2/b/blobs/uploads/?mount={digest}{from}");
    // Who only knows the digest gets an upload, not the content.
    for from in ["", "&from=c"] {
        let begun = f.send("POST", &mount(from), &[], "").await;
        assert_eq!(begun.status, 202, "{from}");
    }
    let mounted = f.send("POST", &mount("&from=a"), &[], "").await;
    assert_eq!(
        (mounted.status, mounted.header("location")),
        (201, &*format!("/v2/b/blobs/{digest}"))
    );
    assert_eq!(f.get(&format!("/v2/b/blobs/{digest}")).await.body, "shared");
    let bad = f.send("POST", &mount("&from=../a"), &[], "").await;
    assert_eq!(bad.refusal(), refused(400, "NAME_INVALID"));
    assert_eq!(
        f.send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], "")
            .await
            .status,
        202
    );
    assert_eq!(
        f.send("DELETE", &format!("/v2/a/blobs/{digest}"), &[], "")
            .await
            .status,
        404
    );
    assert_eq!(f.get(&format!("/v2/b/blobs/{digest}")).await.body, "shared");
    assert_eq!(f.files_in("blobs"), 1);
}

fn about(subject: Option<&Image>, kind: &str, config: &Descriptor) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media_type().to_owned()),
        artifact_type: Some(kind.to_owned()),
        config: Some(config.clone()),
        layers: Some(Vec::new()),
        subject: subject.map(|image| image.manifest.clone()),
        annotations: Some([("note".to_owned(), kind.to_owned())].into()),
        ..Manifest::default()
    }
}

fn media_type() -> &'static str {
    coracle_api::image::media::MANIFEST
}

#[tokio::test]
async fn a_manifest_must_be_one_and_have_its_parts() {
    let f = fixture();
    let image = Image::of_wasm(WASM, None).unwrap();
    let put = |bytes: Vec<u8>, media: &'static str| {
        let f = &f;
        async move {
            f.send(
                "PUT",
                "/v2/a/manifests/x",
                &[("content-type", media)],
                bytes,
            )
            .await
        }
    };
    let missing = put(image.manifest_bytes.clone(), media_type()).await;
    assert_eq!(missing.refusal(), refused(400, "MANIFEST_BLOB_UNKNOWN"));
    f.push_blob("a", WASM).await;
    f.push_blob("a", &image.config_bytes).await;
    for (bytes, media) in [
        (b"{".to_vec(), media_type()),
        (b"{}".to_vec(), media_type()),
        (
            image.manifest_bytes.clone(),
            "application/vnd.oci.image.index.v1+json",
        ),
        (
            String::from_utf8(image.manifest_bytes.clone())
                .unwrap()
                .replace("\"size\":", "\"size\":1")
                .into_bytes(),
            media_type(),
        ),
    ] {
        let refusal = put(bytes.clone(), media).await.refusal();
        assert_eq!(
            refusal,
            refused(400, "MANIFEST_INVALID"),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    let other = format!("/v2/a/manifests/{}", Digest::of(b"other"));
    let put_other = f
        .send(
            "PUT",
            &other,
            &[("content-type", media_type())],
            image.manifest_bytes.clone(),
        )
        .await;
    assert_eq!(put_other.refusal(), refused(400, "DIGEST_INVALID"));
    assert_eq!(
        f.get("/v2/a/manifests/x").await.refusal(),
        refused(404, "MANIFEST_UNKNOWN")
    );
    // The charset says nothing about the type.
    let with_charset = "application/vnd.oci.image.manifest.v1+json; charset=utf-8";
    assert_eq!(
        put(image.manifest_bytes.clone(), with_charset).await.status,
        201
    );
    let index = |digest: Digest| Manifest {
        schema_version: 2,
        media_type: Some("application/vnd.oci.image.index.v1+json".to_owned()),
        manifests: Some(vec![Descriptor::new(media_type(), digest, 1)]),
        ..Manifest::default()
    };
    assert_eq!(
        f.put_manifest("a", "all", &index(image.manifest.digest))
            .await
            .status,
        201
    );
    let dangling = f
        .put_manifest("a", "all", &index(Digest::of(b"none")))
        .await;
    assert_eq!(dangling.refusal(), refused(400, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn tags_move_and_go_and_are_listed_in_parts() {
    let f = fixture();
    assert_eq!(
        f.get("/v2/a/tags/list").await.refusal(),
        refused(404, "NAME_UNKNOWN")
    );
    let first = f.push_image("a", "v1", WASM).await;
    for tag in ["v3", "v2", "latest"] {
        f.push_image("a", tag, WASM).await;
    }
    assert_eq!(
        f.get("/v2/a/tags/list").await.json(),
        json!({"name": "a", "tags": ["latest", "v1", "v2", "v3"]})
    );
    let page = f.get("/v2/a/tags/list?n=2").await;
    assert_eq!(page.json()["tags"], json!(["latest", "v1"]));
    assert_eq!(
        page.header("link"),
        "</v2/a/tags/list?n=2&last=v1>; rel=\"next\""
    );
    let rest = f.get("/v2/a/tags/list?n=2&last=v1").await;
    assert_eq!(
        (rest.json()["tags"].clone(), rest.header("link")),
        (json!(["v2", "v3"]), "")
    );
    assert_eq!(f.get("/v2/a/tags/list?n=0").await.json()["tags"], json!([]));
    assert_eq!(f.get("/v2/a/tags/list?n=-1").await.status, 400);
    let second = f.push_image("a", "latest", b"\0asm\x01\0\0\0module").await;
    assert_eq!(
        f.get("/v2/a/manifests/latest").await.body,
        second.manifest_bytes
    );
    assert_eq!(
        f.send("DELETE", "/v2/a/manifests/v3", &[], "").await.status,
        202
    );
    assert_eq!(
        f.send("DELETE", "/v2/a/manifests/v3", &[], "").await.status,
        404
    );
    let uri = format!("/v2/a/manifests/{}", first.manifest.digest);
    assert_eq!(
        f.get(&uri).await.status,
        200,
        "a tag's end is not its manifest's"
    );
    assert_eq!(f.send("DELETE", &uri, &[], "").await.status, 202);
    assert_eq!(
        f.get("/v2/a/tags/list").await.json()["tags"],
        json!(["latest"])
    );
    assert_eq!(f.get("/v2/a/manifests/v1").await.status, 404);
    f.push_image("b/c", "x", WASM).await;
    assert_eq!(
        f.get("/v2/_catalog").await.json(),
        json!({"repositories": ["a", "b/c"]})
    );
    let page = f.get("/v2/_catalog?n=1").await;
    assert_eq!(
        page.header("link"),
        "</v2/_catalog?n=1&last=a>; rel=\"next\""
    );
}

#[tokio::test]
async fn what_is_about_an_image_is_found_from_it() {
    let f = fixture();
    let image = f.push_image("a", "v1", WASM).await;
    let uri = format!("/v2/a/referrers/{}", image.manifest.digest);
    let none = f.get(&uri).await;
    assert_eq!(
        (none.status, none.json()["manifests"].clone()),
        (200, json!([]))
    );
    assert_eq!(
        none.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    let mut digests = Vec::new();
    for kind in ["example/signature", "example/sbom"] {
        let put = f
            .put_manifest(
                "a",
                kind.split_once('/').unwrap().1,
                &about(Some(&image), kind, &image.config),
            )
            .await;
        assert_eq!(
            (put.status, put.header("oci-subject")),
            (201, &*image.manifest.digest.to_string())
        );
        digests.push(put.header("docker-content-digest").to_owned());
    }
    f.put_manifest("a", "other", &about(None, "example/sbom", &image.config))
        .await;
    assert_eq!(
        f.get(&uri).await.json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let sboms = f.get(&format!("{uri}?artifactType=example%2Fsbom")).await;
    assert_eq!(sboms.header("oci-filters-applied"), "artifactType");
    let found = &sboms.json()["manifests"];
    assert_eq!(found[0]["digest"], *digests[1]);
    assert_eq!(
        (&found[0]["artifactType"], &found[0]["annotations"]["note"]),
        (&json!("example/sbom"), &json!("example/sbom"))
    );
    assert!(found.get(1).is_none());
    assert_eq!(
        f.send(
            "DELETE",
            &format!("/v2/a/manifests/{}", digests[1]),
            &[],
            ""
        )
        .await
        .status,
        202
    );
    assert_eq!(
        f.get(&uri).await.json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        f.get("/v2/a/referrers/latest").await.refusal(),
        refused(400, "DIGEST_INVALID")
    );
}

#[tokio::test]
async fn a_sweep_takes_what_nobody_refers_to_and_nothing_else() {
    let f = fixture();
    let image = f.push_image("a", "v1", WASM).await;
    let gone = f.push_image("b", "v1", b"\0asm\x01\0\0\0gone").await;
    let uri = format!("/v2/b/manifests/{}", gone.manifest.digest);
    assert_eq!(f.send("DELETE", &uri, &[], "").await.status, 202);
    let fresh = f.push_blob("a", b"its manifest is on its way").await;
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let swept = f.registry.sweep(now, hour).await.unwrap();
    // Only the manifest itself: blobs pushed within the hour wait for theirs.
    assert_eq!((swept.blobs, swept.kept), (1, 6));
    let swept = f.registry.sweep(now + 2 * hour, hour).await.unwrap();
    assert_eq!((swept.blobs, swept.kept), (3, 3));
    assert_eq!(f.get(&format!("/v2/a/blobs/{fresh}")).await.status, 404);
    assert_eq!(f.get("/v2/a/manifests/v1").await.body, image.manifest_bytes);
    assert_eq!(
        f.get(&format!("/v2/a/blobs/{}", image.layer.digest))
            .await
            .body,
        WASM
    );
    assert_eq!(f.files_in("blobs"), 3);
    // Pushed again it is there again.
    f.push_image("b", "v1", b"\0asm\x01\0\0\0gone").await;
    assert_eq!(f.get("/v2/b/manifests/v1").await.body, gone.manifest_bytes);
}

#[tokio::test]
async fn what_is_no_endpoint_or_no_method_of_one_is_refused() {
    let f = fixture();
    for (method, uri, status, code) in [
        ("GET", "/v2/a", 404, "UNSUPPORTED"),
        ("GET", "/v2/../../etc/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/a/manifests/%2e%2e", 400, "DIGEST_INVALID"),
        ("POST", "/v2/a/manifests/x", 405, "UNSUPPORTED"),
        ("PUT", "/v2/a/blobs/uploads/", 405, "UNSUPPORTED"),
        ("OPTIONS", "/v2/", 405, "UNSUPPORTED"),
        ("GET", "/v2/a/blobs/sha256:00", 400, "DIGEST_INVALID"),
    ] {
        assert_eq!(
            f.send(method, uri, &[], "").await.refusal(),
            refused(status, code),
            "{method} {uri}"
        );
    }
}

/// Over a socket, because only there HEAD, lengths and chunks are what clients see.
#[tokio::test]
async fn lengths_are_right_on_the_wire() {
    let f = fixture();
    let image = f.push_image("a", "v1", WASM).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, router(f.registry.clone())).into_future());
    let ask = |request: String| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    };
    let end = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let head = ask(format!("HEAD /v2/a/blobs/{} {end}\r\n", image.layer.digest)).await;
    assert!(
        head.contains(&format!("content-length: {}\r\n", WASM.len())),
        "{head}"
    );
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let head = ask(format!("HEAD /v2/a/manifests/v1 {end}\r\n")).await;
    assert!(
        head.contains(&format!(
            "content-length: {}\r\n",
            image.manifest_bytes.len()
        )),
        "{head}"
    );
    let begun = ask(format!(
        "POST /v2/a/blobs/uploads/ {end}content-length: 0\r\n\r\n"
    ))
    .await;
    let location = begun
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    let chunked = format!(
        "PATCH {location} {end}transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    );
    let patched = ask(chunked).await;
    assert!(patched.contains("range: 0-5\r\n"), "{patched}");
    server.abort();
}
