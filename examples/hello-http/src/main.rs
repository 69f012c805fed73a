//! An HTTP service in a few lines: greets, and says which pod did.

use coracle_sdk::{
    config, health,
    http::{Body, Error, Request, Response},
};

coracle_sdk::serve!(hello);

async fn hello(request: Request<Body>) -> Result<Response<Body>, Error> {
    if let Some(answer) = health::answer(&request, true) {
        return Ok(answer);
    }
    let greeting: String = config::var_or("GREETING", "hello".to_owned())?;
    let pod: String = config::var_or("HOSTNAME", "somewhere".to_owned())?;
    Ok(Response::new(format!("{greeting} from {pod}\n").into()))
}
