//! A server and a client of HTTP/3 (RFC 9114), which no package of Debian 12 has: `e2e http3 serve ADDRESS CERTIFICATE` and
//! `e2e http3 get ADDRESS CERTIFICATE`. The certificate is made by the server, and the one that the client trusts.

use bytes::{Buf as _, Bytes};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "www.example.demo";

/// What the server answers with: more than what fits into a first flight.
const BODY: usize = 2_000_000;

type Done = Result<(), Box<dyn Error>>;

/// Is one of the two, if the arguments say so.
pub(crate) fn main(arguments: &[String]) -> Option<Done> {
    let [kind, role, address, certificate] = arguments else { return None };
    if kind != "http3" {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let address = address.parse().ok()?;
    let certificate = Path::new(certificate);
    Some(match role.as_str() {
        "serve" => runtime.block_on(serve(address, certificate)),
        _ => runtime.block_on(get(address, certificate)),
    })
}

async fn serve(address: SocketAddr, certificate: &Path) -> Done {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = quinn::Endpoint::server(config, address)?;
    std::fs::write(certificate, made.cert.der())?;
    while let Some(incoming) = endpoint.accept().await {
        let connection = h3_quinn::Connection::new(incoming.await?);
        let mut connection = h3::server::Connection::<_, Bytes>::new(connection).await?;
        while let Ok(Some(request)) = connection.accept().await {
            let (_, mut stream) = request.resolve_request().await?;
            stream.send_response(http::Response::new(())).await?;
            stream.send_data(Bytes::from(vec![b'3'; BODY])).await?;
            stream.finish().await?;
        }
    }
    Ok(())
}

async fn get(address: SocketAddr, certificate: &Path) -> Done {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(certificate)?))?;
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));
    let connection = h3_quinn::Connection::new(endpoint.connect(address, NAME)?.await?);
    let (mut driver, mut requests) = h3::client::new(connection).await?;
    let driving = tokio::spawn(async move { driver.wait_idle().await });
    let request = http::Request::get(format!("https://{NAME}/")).body(())?;
    let mut stream = requests.send_request(request).await?;
    stream.finish().await?;
    let status = stream.recv_response().await?.status();
    let mut bytes = 0;
    while let Some(data) = stream.recv_data().await? {
        bytes += data.remaining();
    }
    drop(requests);
    driving.await?;
    println!("{status}, {bytes} bytes over HTTP/3");
    Ok(())
}
