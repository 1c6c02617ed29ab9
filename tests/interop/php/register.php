<?php
// One register. REGISTER, SECRET_KEY.
require __DIR__ . '/common.php';

$register = new \GatewayWorker\Register('text://' . getenv('REGISTER'));
$register->secretKey = (string) getenv('SECRET_KEY');
run();
