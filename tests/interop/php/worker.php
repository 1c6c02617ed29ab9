<?php
// One businessworker of one process. REGISTER, SECRET_KEY.
require __DIR__ . '/common.php';
require __DIR__ . '/Events.php';

$worker = new \GatewayWorker\BusinessWorker();
$worker->name = 'Interop';
$worker->count = 1;
$worker->registerAddress = explode(',', getenv('REGISTER'));
$worker->secretKey = (string) getenv('SECRET_KEY');
$worker->eventHandler = 'Events';
run();
