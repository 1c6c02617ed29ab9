<?php
// One gateway of one process. LISTEN, LAN_PORT, REGISTER, SECRET_KEY, PING (seconds, 0 for none).
require __DIR__ . '/common.php';

$gateway = new \GatewayWorker\Gateway('websocket://' . getenv('LISTEN'));
$gateway->name = 'Gateway';
$gateway->count = 1;
$gateway->lanIp = '127.0.0.1';
$gateway->startPort = (int) getenv('LAN_PORT');
$gateway->registerAddress = explode(',', getenv('REGISTER'));
$gateway->secretKey = (string) getenv('SECRET_KEY');
$gateway->pingInterval = (int) getenv('PING');
$gateway->pingNotResponseLimit = $gateway->pingInterval > 0 ? 1 : 0;
$gateway->pingData = $gateway->pingInterval > 0 ? '{"type":"ping"}' : '';
run();
