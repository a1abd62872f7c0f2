//! tracer-VERSION-image.tar: a container image of the binary and its licences alone, as `docker load`, `podman load` and
//! what reads OCI layouts take it. No registry and no daemon has a part in it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Release, VERSION, source,
    stage::Stage,
    tarball::{LICENCES, THIRD_PARTY},
};
use crate::command;

const BLOBS: &str = "blobs/sha256";

pub fn pack(release: &Release) -> Result<()> {
    let layer = release.work.join("layer.tar");
    let root = Stage::new(release.work.join("layer"), release.epoch)?;
    root.executable("usr/bin/tracer", fs::read(&release.binary)?)?;
    for file in LICENCES {
        root.file(&format!("usr/share/doc/tracer/{file}"), source(file)?)?;
    }
    root.file(
        &format!("usr/share/doc/tracer/{THIRD_PARTY}"),
        &release.licences,
    )?;
    root.tar("usr", &layer)?;

    let image = Stage::new(release.work.join("image"), release.epoch)?;
    let layer = blob(&image, &fs::read(&layer).context("cannot read the layer")?)?;
    let config = blob(&image, &bytes(&config(release, &layer)?))?;
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }));
    let mut manifest =
        blob(&image, &manifest)?.descriptor("application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
    image.file(
        "oci-layout",
        bytes(&json!({ "imageLayoutVersion": "1.0.0" })),
    )?;
    image.file(
        "index.json",
        bytes(&json!({ "schemaVersion": 2, "manifests": [manifest] })),
    )?;
    // What Docker before 25 reads.
    image.file(
        "manifest.json",
        bytes(&json!([{
            "Config": format!("{BLOBS}/{}", config.sha256),
            "RepoTags": [format!("tracer:{VERSION}")],
            "Layers": [format!("{BLOBS}/{}", layer.sha256)],
        }])),
    )?;
    image.tar(
        ".",
        &release.out.join(format!("tracer-{VERSION}-image.tar")),
    )
}

fn config(release: &Release, layer: &Blob) -> Result<Value> {
    let created = command::read(
        Command::new("date")
            .args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"])
            .arg(format!("--date=@{}", release.epoch)),
    )?;
    Ok(json!({
        "created": created.trim(),
        "architecture": "amd64",
        "os": "linux",
        "config": {
            // For `docker exec`.
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/tracer"],
            "Labels": {
                "org.opencontainers.image.title": "tracer",
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": "(MIT OR Apache-2.0) AND GPL-2.0-only",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.sha256)] },
        "history": [{ "created": created.trim(), "created_by": "cargo xtask dist" }],
    }))
}

/// A file that is called by its checksum.
struct Blob {
    sha256: String,
    bytes: usize,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", self.sha256),
            "size": self.bytes,
        })
    }
}

fn blob(image: &Stage, content: &[u8]) -> Result<Blob> {
    const NEW: &str = "new";
    image.file(NEW, content)?;
    let file = image.root().join(NEW);
    let sha256 = sha256(&file)?;
    let folder = image.root().join(BLOBS);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::rename(&file, folder.join(&sha256)))
        .context("cannot name a blob of the image")?;
    Ok(Blob {
        sha256,
        bytes: content.len(),
    })
}

fn sha256(file: &Path) -> Result<String> {
    let line = command::read(Command::new("sha256sum").arg("--").arg(file))?;
    let sum = line.split_whitespace().next();
    Ok(sum.context("sha256sum says no sum")?.to_owned())
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
