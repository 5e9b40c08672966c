//! A real nginx as an upstream.

use super::process::Process;
use super::{eventually, free_address, missing};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// A running nginx; killed on drop.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    /// What it serves below `/static/`.
    pub(crate) root: std::path::PathBuf,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with these directives in its one `server` block; it serves files, and echoes the request line as it
    /// came and as it was read.
    pub(crate) fn start(server: &str) -> Option<Nginx> {
        Nginx::start_at(free_address(), server)
    }

    /// The same, at this address.
    pub(crate) fn start_at(address: SocketAddr, server: &str) -> Option<Nginx> {
        let Some(program) = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists())
        else {
            missing("nginx");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let root = path.join("files");
        std::fs::create_dir(&root).unwrap();
        // One process: a master killed by a signal would leave its workers behind.
        let config = format!(
            r#"daemon off; master_process off; pid {path}/pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
  access_log off; default_type application/octet-stream;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; client_max_body_size 0;
  server {{
    listen {address};
    location /static/ {{ alias {root}/; }}
    location / {{ return 200 "$request\n$uri\n"; }}
    {server}
  }}
}}
"#,
            path = path.display(),
            root = root.display(),
        );
        std::fs::write(path.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf")).args(["-e", "stderr"]);
        let mut process = Process::start(&command);
        eventually("nginx to listen", || {
            if let Some(status) = process.ended() {
                panic!("nginx ended with {status}: {}", process.stderr.text());
            }
            TcpStream::connect(address).ok()
        });
        Some(Nginx { address, root, _process: process, _directory: directory })
    }
}
