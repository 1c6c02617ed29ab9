const show = async () => (document.querySelector('#page').textContent = await (await fetch('api/cluster')).text());
setInterval(show, 1000);
show();
