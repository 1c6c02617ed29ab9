<?php
// Finds the original's classes: in Composer's `vendor`, or in git checkouts in the folder that GATEWAYWORKER_PHP_VENDOR
// names. README.md has the commands for both.

$vendor = getenv('GATEWAYWORKER_PHP_VENDOR') ?: __DIR__ . '/vendor';
if (is_file("$vendor/autoload.php")) {
    require "$vendor/autoload.php";
} elseif (is_dir("$vendor/GatewayWorker")) {
    spl_autoload_register(static function (string $class) use ($vendor): void {
        foreach ([
            ['GatewayWorker\\', 'GatewayWorker/src'], ['Workerman\\Coroutine\\', 'coroutine/src'],
            ['Workerman\\', 'workerman/src'], ['Workerman\\', 'coroutine/src'],
        ] as [$prefix, $folder]) {
            if (!str_starts_with($class, $prefix)) continue;
            $file = "$vendor/$folder/" . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) { require $file; return; }
        }
    });
} else {
    fwrite(STDERR, "no GatewayWorker in $vendor: run `composer install`, or see README.md for checkouts\n");
    exit(1);
}

// Each worker process loads it when it starts, so that `reload` takes new code.
spl_autoload_register(static fn (string $class) => $class === 'Events' && require __DIR__ . '/Events.php');
