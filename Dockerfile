# The image of all services in docker-compose.yaml but the databases: official Airflow with the project's requirements.
# dags/, plugins/ and include/ are mounted, so that a change needs no new image.
FROM apache/airflow:3.3.2-python3.12

COPY requirements.txt constraints.txt /
RUN pip install --no-cache-dir -r /requirements.txt -c /constraints.txt

# A new volume gets the owner of the folder that it is mounted on, else root.
RUN mkdir /opt/airflow/emulator
