//! The program of the shop: `push [CLIENT_ID [UID]]` binds a client to a user and pushes one message of each kind.
//! Without a client id, it takes the newest client.

use std::process::ExitCode;
use std::time::Duration;

use gatewayworker_client::{Gateway, SecretKey};
use push::{Online, Shop};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match day(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn day(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let registers = std::env::var("GATEWAYWORKER_REGISTER_ADDRESS").unwrap_or("127.0.0.1:1236".into());
    let key = std::env::var("GATEWAYWORKER_SECRET_KEY").unwrap_or_default();
    // It connects in the background, also when a gateway starts or restarts later.
    let gateway = Gateway::builder(registers.split(',')).secret_key(SecretKey::new(key)).connect();
    let shop = Shop::new(gateway.clone());

    // In a real backend, a request has both: POST /login, with a cookie.
    let page = match arguments.next() {
        Some(posted) => posted.parse()?,
        None => *gateway.client_ids().await?.last().ok_or("nobody is there: open examples/client.html")?,
    };
    let uid = arguments.next().unwrap_or_else(|| "ann".into());
    shop.logged_in(page, &uid).await?;
    println!("{page} is {uid}");

    shop.shipped(&uid, 4711).await?;
    shop.offer("Tea is half price until noon").await?;
    shop.announce("The shop closes at eight").await?;
    match shop.online().await? {
        Online::Exactly(n) => println!("{n} customers are here"),
        Online::AtLeast(n) => println!("at least {n} customers are here"),
    }

    // A program that ends must wait until all its commands are sent. A server runs on.
    for (gateway, why) in gateway.finish(Duration::from_secs(5)).await.unreached {
        eprintln!("not all was sent to gateway {gateway}: {why}");
    }
    Ok(())
}
