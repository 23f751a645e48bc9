# The image of all services in docker-compose.yaml but the databases: official Airflow with what the project imports.
# dags/, plugins/ and include/ are not in it; they are mounted, so that a change needs no new image.
FROM apache/airflow:3.3.2-python3.12

COPY requirements.txt constraints.txt /
RUN pip install --no-cache-dir -r /requirements.txt -c /constraints.txt

# A new volume takes its owner from the folder it is mounted on; without one it would be root's.
RUN mkdir /opt/airflow/emulator
