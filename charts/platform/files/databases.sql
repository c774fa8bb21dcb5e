-- The gateway's records beside MLflow's; PostgreSQL runs this once, when its volume is new.
\getenv password GATEWAY_DATABASE_PASSWORD
CREATE USER gateway PASSWORD :'password';
CREATE DATABASE gateway OWNER gateway;
